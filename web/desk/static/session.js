/* A session that has ended costs an editor nothing: they sign in again over the page, and go on. */

const LOOK_AGAIN = 3000; // ms
const again = document.querySelector("#sign-in-again"); // whose page it is, and the dialog

/** Who is signed in now, and a token for their forms. */
async function sessionNow() {
  const response = await fetch(`${again.dataset.desk}session`);
  return response.json();
}

/**
 * Wait until the editor of this page is signed in; the forms then work again. Says whether the editor
 * signed in here, or was signed in already, and not in another window.
 */
async function signedIn() {
  let { now, here } = { now: await sessionNow(), here: true };
  const ended = !now.editor;
  if (ended) ({ now, here } = await askForPassword());
  if (now.editor !== again.dataset.by) {
    // Another editor has signed in, who must see nothing of this page.
    location.replace(again.dataset.desk);
    return new Promise(() => {});
  }
  for (const field of document.querySelectorAll("[name=csrf_token]")) field.value = now.csrf_token;
  if (ended) document.querySelector("#audience")?.dispatchEvent(new Event("change")); // is counted now
  return here;
}

let asking; // one dialog for all that wait

function askForPassword() {
  asking ??= ask(dialog()).finally(() => (asking = undefined));
  return asking;
}

/** The dialog, which is on the page once it is needed. */
function dialog() {
  if (!document.querySelector("#again")) document.body.append(again.content.cloneNode(true));
  return document.querySelector("#again");
}

async function ask(dialog) {
  const password = dialog.querySelector("[type=password]"); // in a rehearsal there is none
  const error = dialog.querySelector(".error");
  let pressed = false;
  let wake = () => {};
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    pressed = true;
    wake();
  };
  const tell = (words) => {
    error.textContent = words;
    error.hidden = false;
    password?.select();
  };
  for (;;) {
    if (!dialog.open) dialog.showModal(); // a browser closes it at a second Escape
    if (!pressed) {
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, LOOK_AGAIN); // an editor may have signed in in another tab
      });
    }
    const here = pressed;
    pressed = false;
    try {
      let now = await sessionNow();
      if (!now.editor && here && password) now = await signIn(dialog, now, tell);
      if (now.editor) {
        dialog.close();
        return { now, here };
      }
    } catch {
      if (here) tell("The service does not respond. Try again, please.");
    }
  }
}

/** Try the password once; return the session after that. */
async function signIn(dialog, now, tell) {
  const [email, password] = dialog.querySelectorAll("input");
  const fields = { csrf_token: now.csrf_token, email: email.value, password: password.value };
  const body = new URLSearchParams(fields);
  const response = await fetch(`${again.dataset.desk}sign-in`, { method: "POST", body, redirect: "manual" });
  if (response.type !== "opaqueredirect") {
    tell(await complaintIn(response));
    return now;
  }
  password.value = "";
  const after = await sessionNow();
  dialog.querySelector("#again-code").hidden = Boolean(after.editor); // the second step
  return after;
}

/** What the page of the sign-in complains of. */
async function complaintIn(response) {
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const found = page.querySelector(".error") ?? page.querySelector("main p");
  return found?.textContent.trim() ?? "That did not work. Try again, please.";
}

// A form with something typed or chosen in it goes to the service only while its editor is signed in. So
// does the last step, `data-by`: no editor presses “Notify” only to learn that the session has ended. If
// they sign in in another window, they press again here: nothing is sent by a page that they have left.
const TYPED = "input:not([type=hidden]), textarea, select";
let checked; // the form that may go now

function waits(form) {
  if (form === checked || form.method !== "post") return false;
  if ("save" in form.dataset) return false; // `autosave.js` asks
  if ("passkey" in form.dataset) return false; // browsers want the press itself, not what follows it later
  return "by" in form.dataset || form.querySelector(TYPED) !== null;
}

const checking = new WeakSet();

document.addEventListener(
  "submit",
  (event) => {
    const { target: form, submitter } = event;
    if (!waits(form)) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // no other script of the page sends it
    if (checking.has(form)) return;
    checking.add(form);
    const go = () => {
      checked = form;
      form.requestSubmit(submitter);
      checked = undefined;
    };
    signedIn()
      .then((here) => here && go(), go)
      .finally(() => checking.delete(form));
  },
  true,
);
