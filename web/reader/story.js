/* Following one running story, from a bell of its own on the publisher's page:

     <div data-stop-press="bell" data-story="quake"></div>

   bell.js fetches this when that bell is pressed. A subscriber follows the story with this click.
   Any other reader is first asked to subscribe, and then follows this story alone. The script
   contains its words in all languages; a publisher's own texts (`data-texts`) replace them. */

import { promise, wordsFor } from "./dialog.js";
import { element } from "./dom.js";
import { fill, open } from "./panel.js";

const NOT_RUNNING = 422; // the status by which the service refuses a story that is not open

const WORDS = EACH_LANGUAGE.story; // service/reader/scripts.py puts them in

/** Tell the service whether this reader follows the story. Following also ends muting. */
async function choose({ reader }, story, following) {
  const { followed_stories: followed, muted_stories: muted } = await reader.own("GET");
  const others = (slugs) => slugs.filter((slug) => slug !== story);
  await reader.own("PATCH", "", {
    followed_stories: [...others(followed), ...(following ? [story] : [])],
    muted_stories: others(muted),
  });
}

/** Call `run`; if the story has ended, fail with the words for that. */
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

/** Follow at once. */
async function follow(panel, story) {
  const { reader, t } = panel;
  try {
    await orEnded(() => choose(panel, story, true));
  } catch (error) {
    // The service may not know this browser any more.
    if (error.kind === "refused") await reader.refresh().catch(console.warn);
    if (!reader.state().subscribed) return fill(panel);
    return panel.say("", t.follow, await wordsFor(error, t), panel.again(() => follow(panel, story)));
  }
  sayFollowing(panel, story);
}

function showQuestion(panel, facts, story) {
  const { t } = panel;
  const yes = panel.button("yes", async () => {
    const preferences = { topics: [], followed_stories: [story] };
    const listening = panel.reader.listen();
    await orEnded(() => facts.join(preferences, (kind) => panel.hint(kind)));
    sayFollowing(panel, story);
    const { title } = panel;
    // That a first alert arrives, or what to do on this system; unless the reader has gone on.
    const help = panel.reader.load("./help.js");
    const show = ({ showArrival }) => title === panel.title && showArrival(panel, facts.welcome, listening);
    help.then(show).catch(console.warn);
  });
  const row = element("p", { class: "choices" }, yes, panel.button("later", () => panel.close()));
  yes.classList.add("main");
  panel.show({ paper: facts.name, heading: t.follow }, element("p", {}, t.offer), row, promise(t));
}

/** Do what a press on a story's bell does, and show the result in the panel. */
export function pressed(reader, story) {
  return open(reader, false, (panel, facts) => {
    panel.t = { ...WORDS[panel.t.lang], ...panel.t };
    if (reader.state().subscribed) return follow(panel, story);
    return facts.join ? showQuestion(panel, facts, story) : fill(panel, facts);
  });
}
