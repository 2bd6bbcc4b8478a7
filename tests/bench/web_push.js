// What `python -m tests.bench` runs in Node: web-push, 16 messages at a time.
const webpush = require("web-push");
const { Agent } = require("https");
const asked = JSON.parse(require("fs").readFileSync(0));
const agent = new Agent({ keepAlive: true, maxSockets: 16, ca: asked.ca });
const options = { vapidDetails: asked.vapid, agent, TTL: 14400, urgency: "high" };
async function send(subscriptions) {
  let accepted = 0;
  const left = subscriptions.values();
  const one = async () => {
    for (const subscription of left) {
      const answer = await webpush.sendNotification(subscription, asked.payload, options);
      accepted += answer.statusCode === 201;
    }
  };
  await Promise.all(Array.from({ length: 16 }, one));
  return accepted;
}
(async () => {
  await send(asked.subscriptions.slice(0, asked.warm_up));
  const cpu = process.cpuUsage();
  const accepted = await send(asked.subscriptions.slice(asked.warm_up));
  const { user, system } = process.cpuUsage(cpu);
  console.log(JSON.stringify({ accepted, cpu: (user + system) / 1e6 }));
  process.exit();
})();
