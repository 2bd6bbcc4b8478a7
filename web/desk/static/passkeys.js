/* Passkeys: forms that a browser fills in by asking for a finger, a face or a PIN. */

// By the name of what a browser throws.
const WHY = {
  NotAllowedError: "No passkey was used: it was cancelled, took too long, or this device has none for this desk.",
  InvalidStateError: "This device has a passkey for your account already.",
  SecurityError: "Passkeys work only at the desk’s own address. Ask your operator for it.",
};
const OTHERWISE = "That did not work. Reload the page and try again, or sign in in another way.";

/** What the browser answers to what the desk wants signed. */
async function answerTo(form) {
  const body = new URLSearchParams({ csrf_token: form.elements.csrf_token.value });
  const response = await fetch(form.dataset.begin, { method: "POST", body });
  if (!response.ok) throw new Error(response.status);
  const options = await response.json();
  if (form.dataset.passkey === "add") {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return navigator.credentials.create({ publicKey });
  }
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return navigator.credentials.get({ publicKey });
}

const works = window.PublicKeyCredential?.parseRequestOptionsFromJSON;
for (const form of works ? document.querySelectorAll("form[data-passkey]") : []) {
  const error = form.querySelector(".error");
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.hidden = true;
    try {
      form.elements.credential.value = JSON.stringify(await answerTo(form));
      form.submit();
    } catch (thrown) {
      error.textContent = WHY[thrown.name] ?? OTHERWISE;
      error.hidden = false;
    }
  });
}
