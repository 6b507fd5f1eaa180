// What the model decided for a query, why that matters, and where the time went.
import { bar, draw, make } from "./dom.js";
import { meanLatency } from "./live.js";
import { ROUTES, milliseconds, percent } from "./words.js";

export const badge = (route) => make("span", { className: `badge ${route}`, textContent: ROUTES[route].done });

export const wrote = (augmentation) =>
  make("blockquote", { className: "wrote" }, make("cite", { textContent: "It wrote" }), make("p", { textContent: augmentation || "nothing" }));

/** The probability that the model gives to thinking first. */
const probability = ({ route, confidence }) => (route === "augment" ? confidence : 1 - confidence);

/** That probability on a scale, with the threshold that it was compared with. */
function scale(answer, threshold) {
  const thinking = probability(answer);
  const x = (share) => 6 + 288 * share;
  const title = `Probability of thinking first: ${percent(thinking)}; threshold: ${percent(threshold)}`;
  return draw(
    "svg",
    { class: "scale", viewBox: "0 0 300 56", role: "img", "aria-label": title },
    draw("rect", { class: "left", x: 6, y: 16, width: 288 * threshold, height: 12, rx: 3 }),
    draw("rect", { class: "right", x: x(threshold), y: 16, width: 288 * (1 - threshold), height: 12, rx: 3 }),
    draw("line", { class: "cut", x1: x(threshold), x2: x(threshold), y1: 11, y2: 33 }),
    draw("circle", { class: `here ${answer.route}`, cx: x(thinking), cy: 22, r: 7 }),
    draw("text", { x: 6, y: 50, text: "embed at once" }),
    draw("text", { x: x(Math.min(0.68, Math.max(0.32, threshold))), y: 7, "text-anchor": "middle", text: `threshold ${percent(threshold)}` }),
    draw("text", { x: 294, y: 50, "text-anchor": "end", text: "think first" }),
  );
}

/** A threshold that the user moved decides, whatever the query says; so tell what the model's own would have done. */
function userDecided(answer, { threshold, own }) {
  const yours = `Your threshold of ${percent(threshold)} decided`;
  if (own === null) return `${yours}.`;
  const route = probability(answer) >= own ? "augment" : "embed";
  const instead = route === answer.route ? "done the same" : { embed: "embedded at once", augment: "thought first" }[route];
  return `${yours}; with the model's own, ${percent(own)}, it would have ${instead}.`;
}

function why(answer, { forced, moved, ...thresholds }) {
  const other = answer.route === "embed" ? "augment" : "embed";
  if (forced) return `You forced this route. The model itself gives it a probability of ${percent(answer.confidence)}.`;
  const mean = meanLatency(other);
  const cost = mean === null ? "" : ` ${ROUTES[other].name.replace("Think", "Thinking").replace("Embed", "Embedding")} takes ${milliseconds(mean)} on average since the start, busy times included.`;
  if (moved) return userDecided(answer, thresholds) + cost;
  return answer.route === "embed"
    ? `The query says enough by itself, so its vector came from the very pass that decided.${cost}`
    : `An answer is easier to find than its question, so the model wrote one and embedded both together.${cost}`;
}

/** `queue`, the wait for the model, is a part of `embed`. */
function stages({ queue, embed, index, total }) {
  const rest = Math.max(0, total - embed - index);
  const list = make("dl", { className: "stages", ariaLabel: "Milliseconds of each stage" });
  for (const [name, value] of [["Waiting", queue], ["Model", embed - queue], ["Index", index], ["Rest", rest], ["Total", total]]) {
    const amount = make("span", { className: "value", textContent: milliseconds(value) });
    list.append(make("dt", { textContent: name }), make("dd", {}, bar(value / total), amount));
  }
  return list;
}

/**
 * The panel's content. `forced`: the route was not left to the model. `threshold`, `own`: what held and what the
 * model's own is, null while unknown. `moved`: the user chose the threshold.
 */
export function decision(answer, { forced, threshold, own, moved }) {
  const parts = [badge(answer.route), " ", make("code", { textContent: ROUTES[answer.route].token })];
  if (!forced) {
    parts.push(make("p", { className: "confidence", textContent: percent(answer.confidence) }));
    parts.push(make("p", { className: "muted", textContent: "confidence in this route" }));
    if (threshold !== null) parts.push(scale(answer, threshold));
  }
  if (answer.augmentation !== null) parts.push(wrote(answer.augmentation));
  parts.push(make("p", { textContent: why(answer, { forced, threshold, own, moved }) }));
  parts.push(make("h3", { textContent: "Where the time went" }), stages(answer.latency_ms));
  return parts;
}
