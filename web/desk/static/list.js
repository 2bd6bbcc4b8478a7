/* The list of alerts refreshes itself. Only what differs is changed, so that the focus, what is
   selected, what is open and the place on the screen stay. */

const rows = document.querySelector("#rows");

/** Give an element the attributes and children of another one; what is the same stays untouched. */
function merge(old, next) {
  if (old.isEqualNode(next)) return;
  if (old.nodeName !== next.nodeName || old.nodeType !== Node.ELEMENT_NODE) {
    old.replaceWith(next);
    return;
  }
  for (const { name } of [...old.attributes]) {
    const isOpen = name === "open" && old.nodeName === "DETAILS";
    if (!next.hasAttribute(name) && !isOpen) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  mergeChildren(old, next);
}

/** Children with an id are found by it: a new row above them does not touch them. */
function mergeChildren(old, next) {
  const known = new Map([...old.children].filter(({ id }) => id).map((child) => [child.id, child]));
  const wanted = new Set([...next.children].map(({ id }) => id));
  for (const [id, child] of known) if (!wanted.has(id)) child.remove();
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const same = child.id ? known.get(child.id) : undefined;
    if (same) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      merge(same, child);
    } else if (child.id || !at || at.id) {
      old.insertBefore(child, at);
    } else {
      const after = at.nextSibling;
      merge(at, child);
      at = after;
    }
  }
  while (at) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}

/** Change the page, and leave the focus and the first row on the screen where they are. */
function inPlace(change) {
  const focused = document.activeElement;
  const onScreen = [...document.querySelectorAll("[id^=row-]")].filter(
    (row) => scrollY && row.getBoundingClientRect().bottom > 0,
  );
  const tops = onScreen.map((row) => row.getBoundingClientRect().top);
  change();
  const at = onScreen.findIndex((row) => row.isConnected);
  if (at >= 0) scrollBy(0, onScreen[at].getBoundingClientRect().top - tops[at]);
  // An alert that is sent now has moved, and its link with it.
  if (focused.id && !focused.isConnected) {
    document.getElementById(focused.id)?.focus({ preventScroll: true });
  }
}

if (rows) {
  rows.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) htmx.trigger(rows, "refresh");
  });
  rows.addEventListener("htmx:beforeSwap", (event) => {
    event.detail.shouldSwap = false;
    const { status, responseText } = event.detail.xhr;
    if (status >= 400) return;
    document.querySelector("#away").hidden = true;
    if (status !== 200) return; // nothing has changed
    const page = new DOMParser().parseFromString(responseText, "text/html");
    localiseTimes(page);
    inPlace(() => {
      for (const part of [...page.body.children]) merge(document.getElementById(part.id), part);
    });
    htmx.process(rows); // the next address and the next pause
  });
}
