// Three lists side by side: the route left to the model, and forced either way; and what moved.
import { badge, wrote } from "./decision.js";
import { byId, make } from "./dom.js";
import { movement } from "./movement.js";
import { picture } from "./results.js";
import { ROUTES, counted, milliseconds } from "./words.js";

export const COMPARED = ["auto", "embed", "augment"];
const TITLES = { auto: "Model decides", embed: "Forced: embed at once", augment: "Forced: think first" };

function mark({ kind, by }) {
  const [text, spoken] = {
    same: ["=", "same place"],
    new: ["new", "not in the model's list"],
    up: [`▲ ${by}`, `up by ${by}`],
    down: [`▼ ${by}`, `down by ${by}`],
  }[kind];
  const visible = make("span", { textContent: text, ariaHidden: "true" });
  return make("span", { className: `moved ${kind}` }, visible, make("span", { className: "unseen", textContent: spoken }));
}

function row(result, rank, move) {
  const item = make("li", { className: result.image_url ? "" : "only-text" });
  item.append(make("span", { className: "rank", textContent: rank + 1 }));
  if (result.image_url) item.append(picture(result));
  const score = make("span", { className: "score", textContent: result.score.toFixed(3) });
  item.append(make("span", {}, make("span", { className: "words", textContent: result.text || result.id }), score));
  item.append(move ? mark(move) : "");
  return item;
}

/** One column. `reference`: the answer with the route left to the model, or null in that column itself. */
function column(route, answer, reference) {
  const ids = answer.results.map(({ id }) => id);
  const moves = reference && movement(ids, reference.results.map(({ id }) => id)).moves;
  const rows = answer.results.map((result, rank) => row(result, rank, moves?.[rank]));
  const section = make("section", { className: "panel column" }, make("h3", { textContent: TITLES[route] }));
  section.append(badge(answer.route), make("span", { className: "muted", textContent: ` ${milliseconds(answer.latency_ms.total)}` }));
  if (answer.augmentation !== null) section.append(wrote(answer.augmentation));
  section.append(make("ol", { ariaLabel: TITLES[route] }, ...rows));
  return section;
}

/** What the other route would have changed, in a sentence or two. */
function summary(answers, pictureRead) {
  const { auto } = answers;
  const other = auto.route === "embed" ? "augment" : "embed";
  const ids = (answer) => answer.results.map(({ id }) => id);
  const { moves } = movement(ids(answers[other]), ids(auto));
  const count = (...kinds) => moves.filter(({ kind }) => kinds.includes(kind)).length;
  const name = ROUTES[other].name === "Think first" ? "Thinking first" : "Embedding at once";
  const decided = auto.route === "embed" ? "The model embedded at once" : "The model thought first";
  const [taken, instead] = [auto, answers[other]].map(({ latency_ms }) => milliseconds(latency_ms.total));
  const first = moves[0]?.kind === "same" ? "the same document is first" : "another document is first";
  return (
    `${decided} (${taken}). ${name} took ${instead}: ${moves.length ? `${first}, ` : ""}` +
    `${count("up", "down")} of ${counted(moves.length, "result")} moved, ${count("new")} new.` +
    (pictureRead ? " The picture had been read before, so no time has that in it." : "")
  );
}

/** Show the answers that are there so far: {auto, embed, augment}. `pictureRead`: a picture was read before them. */
export function showComparison(answers, pictureRead) {
  const routes = COMPARED.filter((route) => route in answers);
  const columns = routes.map((route) => column(route, answers[route], route === "auto" ? null : answers.auto));
  byId("columns").replaceChildren(...columns);
  const whole = routes.length === COMPARED.length;
  byId("comparison-summary").textContent = whole ? summary(answers, pictureRead) : "Asking the other routes…";
  byId("comparison").hidden = false;
}

/** A search has failed: a comparison that lacks a route waits for nothing any more. */
export function breakOffComparison() {
  if (byId("columns").children.length === COMPARED.length) return;
  byId("comparison-summary").textContent = "Not compared: a route gave no answer.";
}
