try {
  importScripts("https://push.example/sw.js");
} catch {
  // Stop Press could not be reached: show its alerts plainly until a page has brought it in.
  self.addEventListener("push", (event) => {
    let alert = {};
    try {
      alert = event.data.json() ?? {};
    } catch {}
    if (alert.web_push === 8030) event.stopImmediatePropagation();
    else if (self.stopPress?.ignoreForeign) return;
    const { title = self.location.hostname, body, navigate = "/" } = alert.notification ?? {};
    const data = { stopPress: { navigate, links: [] } };
    event.waitUntil(self.registration.showNotification(title, { body, data }));
  });
  self.addEventListener("notificationclick", (event) => {
    const { navigate } = event.notification.data?.stopPress ?? {};
    if (!navigate) return;
    event.stopImmediatePropagation();
    event.notification.close();
    event.waitUntil(self.clients.openWindow(navigate));
  });
}
