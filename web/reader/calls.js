/* The calls to the service, and why one failed. */

const CALL_TIMEOUT_MS = 15_000;

let warned = false;

/** An error for which the panel has a text, named by `kind`. `cause` is for the console; `status`
    is the service's, if it refused a call. */
export function failure(kind, cause, status) {
  return Object.assign(new Error(kind, { cause }), { kind, status });
}

/** Return a value in JSON, its arrays and dates in their usual form, though Prototype.js writes them
    otherwise: see `plain` in optin.js. */
export function written(given) {
  return JSON.stringify(given, function (name, value) {
    const one = this[name];
    if (one instanceof Date) return one.toISOString();
    return Array.isArray(one) ? one : value;
  });
}

/** Call the service. Fails as "offline", as "origin" if the service does not let this site call it,
    or by the status: "busy", "fault", "unknown-service" or "refused". An answer that is not in
    the service's own form comes from something on the way, such as a firewall, and says nothing of
    the reader: it has no status. */
export async function call(method, path, { body, token } = {}) {
  const response = await fetch(new webkitURL(`/api/v1/${path}`, import.meta.url).href, {
    method,
    headers: {
      ...(body && { "Content-Type": "application/json" }),
      ...(token && { Authorization: `Bearer ${token}` }),
    },
    body: body && written(body),
    credentials: "omit",
    keepalive: true, // a reader who says yes may go on to another page at once
    signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
  }).catch(async (error) => {
    throw await whyNoAnswer(error);
  });
  const { ok, status, headers } = response;
  const isProblem = /problem/.test(headers.get("Content-Type"));
  if (!ok && (isProblem || status >= 429))
    throw failure(whyRefused(status, await response.text()), `HTTP ${status}`, status);
  const answer = ok && (status === 204 ? {} : await response.json().catch(() => null));
  if (!isOurs(answer, method, path, status))
    throw failure("offline", `HTTP ${status}, not from Stop Press`);
  return answer;
}

/** Whether an answer is the service's. A worker of the site, or something else on the way, may give a
    page in its place, or JSON of its own. */
function isOurs(answer, method, path, status) {
  if (method === "DELETE") return status === 204;
  if (path.startsWith("site")) return answer?.vapid_public_key;
  return /^subscriptions\/?[^/]*$/.test(path) ? answer?.id : answer;
}

/** Pages of any site may read sw.js: if this page can, it is the calls that it may not make. */
async function whyNoAnswer(error) {
  const options = { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(4000) };
  const found = await fetch(new webkitURL("/sw.js", import.meta.url).href, options).catch(() => ({}));
  if (!/javascript/.test(found.headers?.get("Content-Type"))) return failure("offline", error);
  const missing = `${location.origin} is not in SITE_ORIGINS, so that its readers cannot subscribe`;
  if (!warned) console.warn(`Stop Press: ${missing}`);
  warned = true;
  return failure("origin", missing);
}

function whyRefused(status, problem) {
  if (status === 429 || status === 503) return "busy";
  if (status >= 500) return "fault";
  return /:unknown-push-service"/.test(problem) ? "unknown-service" : "refused";
}

export function site() {
  return call("GET", "site");
}

/** Call about the subscription whose `id` and `token` these are. */
export function about({ id, token }, method, path = "", body) {
  return call(method, `subscriptions/${id}${path}`, { body, token });
}

/** Tell the service of a subscription; return its id and token there. */
export function tell(body, token) {
  return call("POST", "subscriptions", { body, token });
}
