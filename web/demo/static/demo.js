/* The bell in the masthead: asks, or for a subscriber shows what is followed and how to leave. */

const bell = document.querySelector(".bell");
const label = bell.querySelector(".bell-label");

function render() {
  label.textContent = window.StopPress.state().subscribed ? "Alerts on" : "Alerts";
}

bell.addEventListener("click", () => window.StopPress.ask());
window.addEventListener("stoppress:change", render);
render();
bell.hidden = false;
