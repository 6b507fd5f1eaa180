// Searches: what is asked is read off the form, and one search at a time is under way.
import { json } from "./api.js";
import { COMPARED, breakOffComparison, showComparison } from "./comparison.js";
import { decision } from "./decision.js";
import { byId } from "./dom.js";
import { Fault } from "./fault.js";
import { chosenFilter, offerNames } from "./filter-form.js";
import { pollSoon } from "./live.js";
import { chosenPicture } from "./picture.js";
import { card } from "./results.js";
import { say, sayFault } from "./say.js";
import { chosenThreshold, heldThreshold, ownThreshold } from "./threshold.js";
import { ROUTES, counted, milliseconds } from "./words.js";

let running = null; // AbortController of the search under way
let asked = false; // whether anything was searched yet

export const chosenRoute = () => document.querySelector("[name=route]:checked").value;

function query() {
  const text = byId("text").value.trim();
  const image = chosenPicture();
  if (!text && image === null) {
    byId("text").focus();
    throw new Fault("Nothing to search for", { detail: "Write a question or a description, or choose a picture." });
  }
  return { ...(text && { text }), ...(image !== null && { image }) };
}

/** The request's body without its route. Throws a Fault for what cannot be sent. */
function question() {
  const body = { query: query(), collection: byId("collection").value || "default", k: byId("k").valueAsNumber || 12 };
  const [filter, threshold] = [chosenFilter(), chosenThreshold()];
  if (filter !== null) body.filter = filter;
  if (threshold !== null) body.augment_threshold = threshold;
  return body;
}

const ask = (body, route, signal) => json("/search", { method: "POST", body: { ...body, route }, signal });

async function searchOnce(body, route, signal) {
  const thresholds = { threshold: heldThreshold(), own: ownThreshold(), moved: chosenThreshold() !== null };
  const answer = await ask(body, route, signal);
  byId("results").replaceChildren(...answer.results.map(card));
  byId("decision-body").replaceChildren(...decision(answer, { forced: route !== "auto", ...thresholds }));
  byId("comparison").hidden = true;
  byId("answer").hidden = false;
  offerNames(answer.results);
  const found = answer.results.length ? counted(answer.results.length, "result") : "Nothing in this collection fits";
  return `${found}. ${ROUTES[answer.route].done}, ${milliseconds(answer.latency_ms.total)}.`;
}

/**
 * Have the server read the picture, so that it is remembered for all who are compared: the first of them alone
 * would pay for it otherwise. The limit makes it a question of its own, whose vector a server that remembers
 * vectors cannot give as the answer to a compared one.
 */
const readPictureBefore = (body, signal) => ask({ ...body, k: 1, max_augment_tokens: 1 }, "embed", signal);

/** The comparison takes the answer's place, and takes over the focus if the answer had it. */
function replaceAnswer(answers, pictureRead) {
  const focused = byId("answer").contains(document.activeElement);
  showComparison(answers, pictureRead);
  byId("answer").hidden = true;
  if (focused) byId("comparison-title").focus();
}

/** One after the other, so that their times can be compared. */
async function searchEachWay(body, signal) {
  byId("columns").replaceChildren();
  const pictureRead = "image" in body.query;
  if (pictureRead) await readPictureBefore(body, signal);
  const answers = {};
  for (const route of COMPARED) {
    answers[route] = await ask(body, route, signal);
    replaceAnswer(answers, pictureRead);
  }
  offerNames(answers.auto.results);
  return `${ROUTES[answers.auto.route].done}; compared with both routes forced.`;
}

/** Search for what the form asks; a search under way is given up. */
export async function search() {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  try {
    const [body, route] = [question(), chosenRoute()];
    asked = true;
    byId("welcome").hidden = true;
    byId("results").ariaBusy = "true";
    say("Searching…");
    say(await (route === "compare" ? searchEachWay(body, mine.signal) : searchOnce(body, route, mine.signal)));
    pollSoon();
  } catch (error) {
    if (running !== mine) return;
    breakOffComparison();
    sayFault(error);
  } finally {
    if (running === mine) byId("results").ariaBusy = "false";
  }
}

/** Search again after a choice was changed, if anything was searched before. */
export const searchAgain = () => asked && search();
