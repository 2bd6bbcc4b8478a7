{
  const load = () => import("https://push.example/optin.js").catch(() => {});
  addEventListener("load", load);
  setTimeout(load, document.readyState === "complete" ? 0 : 10000);
}
