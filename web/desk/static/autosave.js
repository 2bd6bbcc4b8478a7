/* What is typed into the form of an alert is kept in the store within two seconds. Until it is, this
   browser remembers it as well, for 30 days and for the same editor only. */

const MOST_UNSAVED = 1500; // ms
const PAUSE = 700; // ms without a key
const LONGEST_WAIT = 15_000; // ms between two attempts
const LONGEST_KEPT = 30 * 86_400_000; // ms, as long as the service keeps an unfinished alert
const LARGEST = 64 * 1024; // bytes that the service takes
const TOO_LONG = "This is too long to be kept. Shorten it, please.";

const writing = document.querySelector("form[data-save]");
const KEPT = "stoppress-unsaved ";

/** The fields as the service takes them. */
function typed(form) {
  return new URLSearchParams(new FormData(form));
}

/** The fields as this browser remembers them. */
function fieldsOf(form) {
  return [...typed(form)].filter(([name]) => name !== "csrf_token");
}

/** Storage may be blocked or full: then only the service keeps the text. */
function local(action) {
  try {
    return action(localStorage);
  } catch {
    return undefined;
  }
}

/** The names of what this browser remembers, of all editors. */
function keptNames() {
  return local((storage) => Object.keys(storage).filter((name) => name.startsWith(KEPT))) ?? [];
}

/** Forget what is too old, of all editors. What an earlier release wrote begins to age now. */
function forgetOld() {
  for (const name of keptNames()) {
    const kept = local((storage) => JSON.parse(storage.getItem(name)));
    if (!kept || Date.now() - kept.at > LONGEST_KEPT) local((storage) => storage.removeItem(name));
    else if (!kept.at) local((storage) => storage.setItem(name, JSON.stringify({ ...kept, at: Date.now() })));
  }
}

forgetOld();

class Autosave {
  constructor(form) {
    this.form = form;
    this.key = KEPT + form.elements.nonce.value;
    this.status = document.querySelector("#saved");
    this.edits = 0; // how often something was changed
    this.saved = 0; // which of these the service has
    this.failures = 0;
    form.addEventListener("input", () => this.changed());
    addEventListener("online", () => this.unsaved && this.save());
    addEventListener("pagehide", () => this.leave());
    // Brought back as it was, the page does not know what the service has by now.
    addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
    form.addEventListener("submit", (event) => this.submit(event));
  }

  get unsaved() {
    return this.edits > this.saved && !this.over && !this.leaving;
  }

  changed() {
    this.going = this.leaving = false; // the form was sent, and its editor is still here
    this.edits += 1;
    this.remember();
    if (this.over) return; // the line that says so stays
    this.since ??= Date.now();
    if (!this.failures && !this.conflict) this.say("Saving…", false);
    this.later(Math.min(PAUSE, Math.max(0, this.since + MOST_UNSAVED - Date.now())));
  }

  remember() {
    local((storage) => {
      const kept = { by: this.form.dataset.by, at: Date.now(), fields: fieldsOf(this.form) };
      storage.setItem(this.key, JSON.stringify(kept));
    });
  }

  later(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), ms);
  }

  say(words, isTrouble = true) {
    // A screen reader does not say at each pause that all is well.
    this.status.setAttribute("aria-live", isTrouble ? "polite" : "off");
    this.status.textContent = words;
  }

  /** Save what is unsaved; true once the service has all of it. */
  async save() {
    while (this.running) await this.running;
    if (!this.unsaved) return !this.conflict;
    clearTimeout(this.timer);
    this.running = this.send();
    const done = await this.running;
    this.running = undefined;
    return done && this.unsaved ? this.save() : done;
  }

  async send(isRepeat = false) {
    const sent = this.edits;
    this.since = undefined;
    if (String(typed(this.form)).length > LARGEST) return this.isTooLong();
    let response;
    try {
      response = await fetch(this.form.dataset.save, { method: "POST", body: typed(this.form), redirect: "manual" });
      if (response.type === "opaqueredirect" || [400, 401, 403].includes(response.status)) {
        if (isRepeat) throw new Error(String(response.status));
        this.say("Not saved yet: your session has ended.");
        await signedIn();
        return this.send(true);
      }
      return await this.answered(response, sent);
    } catch {
      this.failures += 1;
      this.say("Not saved yet: the service does not respond. Trying again…");
      this.later(Math.min(LONGEST_WAIT, 1000 * 2 ** this.failures));
      return false;
    }
  }

  async answered(response, sent) {
    if (response.status >= 500) throw new Error(String(response.status));
    if (response.status === 413) return this.isTooLong(); // by a proxy, perhaps, and in its own words
    const answer = await response.json();
    this.failures = 0;
    if (response.status === 409) return this.overtaken(answer);
    if (response.status === 410) return this.sentAlready(answer);
    if (!response.ok) {
      this.say(answer.detail ?? "Not saved.");
      return false;
    }
    this.saved = sent;
    this.form.elements.revision.value = answer.revision;
    if (this.unsaved) {
      this.remember(); // with the revision that the rest stands on
    } else {
      local((storage) => storage.removeItem(this.key));
      this.say("Saved", false);
    }
    this.show(answer);
    return true;
  }

  isTooLong() {
    this.failures = 0;
    this.say(TOO_LONG);
    return false;
  }

  /** Say what the folded parts are set to, and what other editors do with the same alert. */
  show({ others, notice, changes, folds, size }) {
    for (const [name, words] of Object.entries(folds)) {
      const fold = document.querySelector(`[data-fold=${name}]`); // a newer service may have more
      if (fold) fold.textContent = words;
    }
    document.querySelector("#size").textContent = size;
    const line = document.querySelector("#others");
    line.hidden = !others.length;
    line.querySelector("bdi").textContent = others.join(", ");
    const list = document.querySelector("#changes");
    if (!notice) return;
    const items = changes.map((change) => {
      const item = document.createElement("li");
      item.append(Object.assign(document.createElement("bdi"), { textContent: change }));
      return item;
    });
    const words = Object.assign(document.createElement("li"), { textContent: notice });
    list.replaceChildren(words, ...items);
    list.hidden = document.querySelector("#to-changes").hidden = false;
  }

  /** Another window has saved this form: the editor chooses, and neither text is lost. */
  overtaken({ revision }) {
    const box = document.querySelector("#conflict");
    this.conflict = true;
    this.say("Not saved.");
    box.hidden = false;
    box.querySelector("a").onclick = () => setAside(this.key);
    document.querySelector("#keep-mine").onclick = () => {
      this.conflict = false;
      box.hidden = true;
      this.form.elements.revision.value = revision;
      this.save();
    };
    return false;
  }

  /**
   * Another window has sent this form, or saved it as a draft: what is typed now is another one. This
   * browser remembers it, and the list of alerts saves it under a key of its own.
   */
  sentAlready({ location: page }) {
    this.over = true;
    const link = Object.assign(document.createElement("a"), {
      href: page,
      textContent: "This form was sent or saved in another window.",
    });
    this.status.replaceChildren(link, " What you type here is kept in the list of alerts.");
    return true;
  }

  /** An editor who leaves the page within a second after a key loses nothing either. */
  leave() {
    if (!this.unsaved || this.conflict) return;
    fetch(this.form.dataset.save, { method: "POST", body: typed(this.form), keepalive: true, redirect: "manual" })
      .then((response) => response.ok && local((storage) => storage.removeItem(this.key)))
      .catch(() => {}); // this browser still has it
  }

  async submit(event) {
    if (this.over) return;
    if (this.going) {
      this.leaving = true; // the form itself carries all that is typed
      return;
    }
    event.preventDefault();
    const button = event.submitter;
    this.edits += 1; // asks whether the session still lasts, too
    if (!(await this.save())) return; // the page says why
    this.going = true;
    this.form.requestSubmit(button);
  }
}

/** Keep what could not be saved under a key of its own: the list of alerts saves it as another form. */
function setAside(name) {
  local((storage) => {
    const kept = JSON.parse(storage.getItem(name));
    if (!kept) return;
    const body = new URLSearchParams(kept.fields);
    const key = crypto.randomUUID();
    body.set("nonce", key);
    body.set("revision", "0");
    storage.setItem(KEPT + key, JSON.stringify({ by: kept.by, at: kept.at, fields: [...body] }));
    storage.removeItem(name);
  });
}

/** Whether both are the same form, whichever revision it stands on. */
function isSame(one, other) {
  const [first, second] = [one, other].map((fields) => JSON.stringify(fields.filter(([name]) => name !== "revision")));
  return first === second;
}

/** Show what this browser could not save before the page was left. */
function bringBack(form) {
  const { nonce, revision: { value: revision } } = form.elements;
  const kept = local((storage) => JSON.parse(storage.getItem(KEPT + nonce.value)));
  if (!kept || kept.by !== form.dataset.by) return;
  const given = Object.fromEntries(kept.fields);
  if (given.revision !== revision) {
    // The service has it from the page that was left. Otherwise another window has saved since: that
    // text stays, and the list of alerts brings this one.
    if (kept.saved || isSame(kept.fields, fieldsOf(form))) local((storage) => storage.removeItem(KEPT + nonce.value));
    else setAside(KEPT + nonce.value);
    return;
  }
  // Which version of a planned alert was opened: the service says what was changed since.
  if (form.elements.changes) form.elements.changes.value = given.changes;
  for (const field of form.elements) {
    if (!field.name || field.type === "hidden" || field.type === "submit") continue;
    const values = kept.fields.filter(([name]) => name === field.name).map(([, value]) => value);
    if (field.type === "checkbox" || field.type === "radio") field.checked = values.includes(field.value);
    else if (values.length) field.value = values[0];
  }
  form.dispatchEvent(new Event("input", { bubbles: true }));
  // For the previews. As “input” it would make choices: a time chooses “At”, a story clears the other.
  for (const field of form.elements) field.dispatchEvent(new Event("restored"));
}

/** Give the service what this browser could not save, on a page that lists what is unfinished. */
async function saveKept(list) {
  let saved = 0;
  for (const name of keptNames()) {
    const kept = local((storage) => JSON.parse(storage.getItem(name)));
    if (kept?.by !== list.dataset.by) continue;
    if (kept.saved) {
      local((storage) => storage.removeItem(name));
      continue;
    }
    const body = new URLSearchParams(kept.fields);
    body.set("csrf_token", document.querySelector("[name=csrf_token]").value);
    for (const key of [body.get("nonce"), crypto.randomUUID()]) {
      const address = list.dataset.save.replace("key", key);
      const response = await fetch(address, { method: "POST", body, redirect: "manual" });
      if (response.ok) {
        saved += 1;
        // Until this page is loaded again: its editor may have opened the form just before.
        local((storage) => storage.setItem(name, JSON.stringify({ ...kept, saved: true })));
      }
      if (![409, 410].includes(response.status)) break;
      body.set("revision", "0"); // another window has changed or sent it: keep both
    }
  }
  if (!saved) return;
  // Only the list, because a page that is loaded again would forget what its editor has just clicked.
  const response = await fetch(location);
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const next = page.querySelector("[data-unfinished]"); // none on the page of the sign-in
  if (!next) return;
  localiseTimes(next);
  list.replaceWith(next);
}

const unfinished = document.querySelector("[data-unfinished]");
if (unfinished) saveKept(unfinished).catch(() => {}); // next time, then

/** Whether something was typed before this script ran. */
function isTouched(form) {
  return [...form.elements].some(
    (field) =>
      field.type !== "hidden" &&
      (field.type === "checkbox" || field.type === "radio"
        ? field.checked !== field.defaultChecked
        : field.defaultValue !== undefined && field.value !== field.defaultValue),
  );
}

if (writing) {
  const autosave = new Autosave(writing);
  bringBack(writing);
  if (isTouched(writing)) autosave.changed();
  window.addEventListener("beforeunload", (event) => {
    // Where this browser cannot remember it, the editor is asked.
    if (autosave.unsaved && !local((storage) => storage.getItem(autosave.key))) event.preventDefault();
  });
}
