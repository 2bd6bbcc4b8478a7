/* A session that has ended costs an editor nothing: they sign in again over the page, and go on. */

const LOOK_AGAIN = 3000; // ms

/** Who is signed in now, and a token for their forms. */
async function sessionNow() {
  const response = await fetch(`${deskPath()}/session`);
  return response.json();
}

/** Where the desk is: under `/rehearsal` too. */
function deskPath() {
  return location.pathname.replace(/\/desk\/.*/, "/desk");
}

/** Ask for the password until the editor of this page is signed in; the forms then work again. */
async function signedIn() {
  const form = document.querySelector("form[data-by]");
  let now = await sessionNow();
  if (!now.editor) now = await askForPassword(now);
  if (now.editor !== form.dataset.by) {
    // Another editor has signed in, who must see nothing of this page.
    location.replace(`${deskPath()}/`);
    return new Promise(() => {});
  }
  for (const field of document.querySelectorAll("[name=csrf_token]")) field.value = now.csrf_token;
}

let asking; // one dialog for all that wait

function askForPassword(now) {
  asking ??= ask(now).finally(() => (asking = undefined));
  return asking;
}

async function ask(now) {
  const dialog = document.querySelector("#again");
  const [email, password] = dialog.querySelectorAll("input");
  const error = dialog.querySelector(".error");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  for (;;) {
    await new Promise((resolve) => {
      dialog.querySelector("form").onsubmit = (event) => {
        event.preventDefault();
        resolve();
      };
      setTimeout(resolve, LOOK_AGAIN); // an editor may have signed in in another tab
    });
    try {
      now = await sessionNow();
      if (!now.editor && password.value) {
        const fields = { csrf_token: now.csrf_token, email: email.value, password: password.value };
        const body = new URLSearchParams(fields);
        const response = await fetch(`${deskPath()}/sign-in`, { method: "POST", body, redirect: "manual" });
        if (response.type === "opaqueredirect") {
          now = await sessionNow();
          dialog.querySelector("#again-code").hidden = Boolean(now.editor); // the second step
        }
        else tell(await complaintIn(response));
      }
    } catch {
      tell("The service does not respond. Try again, please.");
    }
    if (now.editor) break;
  }
  password.value = "";
  dialog.close();
  return now;

  function tell(words) {
    error.textContent = words;
    error.hidden = false;
    password.select();
  }
}

/** What the page of the sign-in complains of. */
async function complaintIn(response) {
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const found = page.querySelector(".error") ?? page.querySelector("main p");
  return found?.textContent.trim() ?? "That did not work. Try again, please.";
}

// The last step, too: nobody presses “Notify” only to learn that the session has ended.
for (const form of document.querySelectorAll("form[data-by]:not([data-save])")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.checked) return;
    event.preventDefault();
    const go = () => {
      form.dataset.checked = "yes";
      form.requestSubmit(event.submitter);
    };
    if (!form.dataset.checking) signedIn().then(go, go);
    form.dataset.checking = "yes";
  });
}
