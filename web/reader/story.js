/* Following one running story, from a bell of its own on the publisher's page:

     <div data-stop-press="bell" data-story="quake"></div>

   look.js fetches it when that is pressed: a subscriber follows with this click, whoever is none is
   asked, and followed is the story alone. It brings its words itself; a publisher's own texts
   (`data-texts`) go over them. */

import { element } from "./look.js";
import { fill, open, promise } from "./panel.js";

const NOT_RUNNING = 422; // of the service, to a story that it does not know as open

const WORDS = {
  ar: {
    follows: "أنتم تتابعون هذه القصة. تصلكم تنبيهاتها حتى تنتهي.",
    offer: "تنبيهات عن هذه القصة حتى تنتهي، إضافة إلى ما يُرسل إلى الجميع.",
    ended: "انتهت هذه القصة، ولا تنبيهات أخرى عنها.",
    unfollow: "عدم المتابعة",
    unfollowed: "لم تعودوا تتابعون هذه القصة.",
  },
  de: {
    follows: "Sie folgen diesem Thema. Sie hören davon, bis es abgeschlossen ist.",
    offer: "Meldungen zu diesem Thema, bis es abgeschlossen ist, und was an alle geht.",
    ended: "Dieses Thema ist abgeschlossen, es kommt nichts mehr dazu.",
    unfollow: "Nicht mehr folgen",
    unfollowed: "Sie folgen diesem Thema nicht mehr.",
  },
  en: {
    follows: "You follow this story. You hear of it until it ends.",
    offer: "Alerts about this story until it ends, and what goes to everyone.",
    ended: "This story has ended: no more alerts about it.",
    unfollow: "Follow no more",
    unfollowed: "You follow this story no more.",
  },
  es: {
    follows: "Sigue esta historia. Tendrá avisos de ella hasta que termine.",
    offer: "Avisos sobre esta historia hasta que termine, y los que van a todos.",
    ended: "Esta historia ha terminado: ningún aviso más sobre ella.",
    unfollow: "Dejar de seguir",
    unfollowed: "Ya no sigue esta historia.",
  },
  fr: {
    follows: "Vous suivez cette histoire. Vous en aurez des nouvelles jusqu’à sa fin.",
    offer: "Des alertes sur cette histoire jusqu’à sa fin, et celles qui vont à tous.",
    ended: "Cette histoire est close : plus aucune alerte à son sujet.",
    unfollow: "Ne plus suivre",
    unfollowed: "Vous ne suivez plus cette histoire.",
  },
  ru: {
    follows: "Вы следите за этой историей. Мы будем сообщать о ней до её завершения.",
    offer: "Уведомления об этой истории до её завершения и те, что приходят всем.",
    ended: "Эта история завершена, уведомлений о ней больше не будет.",
    unfollow: "Больше не следить",
    unfollowed: "Вы больше не следите за этой историей.",
  },
};

/** Have the service know that this reader follows the story, or does no more. */
async function choose({ reader }, story, following) {
  const { followed_stories: followed, muted_stories: muted } = await reader.own("GET");
  const others = (slugs) => slugs.filter((slug) => slug !== story);
  await reader.own("PATCH", "", {
    followed_stories: [...others(followed), ...(following ? [story] : [])],
    muted_stories: others(muted),
  });
}

/** Let `run` fail with the words for a story that has ended. */
async function orEnded(run) {
  try {
    await run();
  } catch (error) {
    if (error.status === NOT_RUNNING) error.kind = "ended";
    throw error;
  }
}

function sayFollowing(panel, story) {
  const { t } = panel;
  const unfollow = async () => {
    await choose(panel, story, false);
    panel.say("", t.follow, t.unfollowed);
  };
  const more = panel.button("more", () => fill(panel));
  panel.say("", t.follow, t.follows, panel.button("unfollow", unfollow), more);
}

/** Follow at once: that is what was pressed. */
async function follow(panel, story) {
  const { reader, t } = panel;
  try {
    await orEnded(() => choose(panel, story, true));
  } catch (error) {
    // The service may not know this browser any more.
    if (error.kind === "refused") await reader.refresh().catch(console.warn);
    if (!reader.state().subscribed) return fill(panel);
    return panel.say("", t.follow, t[error.kind] ?? t.refused);
  }
  sayFollowing(panel, story);
}

function showQuestion(panel, { name, join }, story) {
  const { t } = panel;
  const yes = panel.button("yes", async () => {
    await orEnded(() => join({ topics: [], followed_stories: [story] }));
    sayFollowing(panel, story);
  });
  const row = element("p", { class: "choices" }, yes, panel.button("later", () => panel.close()));
  yes.classList.add("main");
  panel.show({ paper: name, heading: t.follow }, element("p", {}, t.offer), row, promise(t));
}

/** What a press on the bell of a story does; the panel shows it. */
export function pressed(reader, story) {
  return open(reader, false, (panel, facts) => {
    panel.t = { ...WORDS[panel.t.lang], ...panel.t };
    if (reader.state().subscribed) return follow(panel, story);
    return facts.join ? showQuestion(panel, facts, story) : fill(panel, facts);
  });
}
