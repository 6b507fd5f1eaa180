// What the model decided for a query, why that matters, and where the time went.
import { bar, draw, make } from "./dom.js";
import { meanLatency } from "./live.js";
import { ROUTES, milliseconds, percent } from "./words.js";

export const badge = (route) => make("span", { className: `badge ${route}`, textContent: ROUTES[route].done });

export const wrote = (augmentation) =>
  make("blockquote", { className: "wrote" }, make("cite", { textContent: "It wrote" }), make("p", { textContent: augmentation || "nothing" }));

/** The probability of thinking first on a scale, with the threshold that it was compared with. */
function scale(answer, threshold) {
  const thinking = answer.route === "augment" ? answer.confidence : 1 - answer.confidence;
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

function why(answer, forced) {
  const other = answer.route === "embed" ? "augment" : "embed";
  if (forced) return `You forced this route. The model itself gives it a probability of ${percent(answer.confidence)}.`;
  const mean = meanLatency(other);
  const cost = mean === null ? "" : ` ${ROUTES[other].name.replace("Think", "Thinking").replace("Embed", "Embedding")} takes ${milliseconds(mean)} on average here.`;
  return answer.route === "embed"
    ? `The query says enough by itself, so its vector came from the very pass that decided.${cost}`
    : `An answer is easier to find than its question, so the model wrote one and embedded both together.${cost}`;
}

function stages({ embed, index, total }) {
  const rest = Math.max(0, total - embed - index);
  const list = make("dl", { className: "stages", ariaLabel: "Milliseconds of each stage" });
  for (const [name, value] of [["Model", embed], ["Index", index], ["Rest", rest], ["Total", total]]) {
    const amount = make("span", { className: "value", textContent: milliseconds(value) });
    list.append(make("dt", { textContent: name }), make("dd", {}, bar(value / total), amount));
  }
  return list;
}

/** The panel's content. `forced`: the route was not left to the model. `threshold`: null while it is unknown. */
export function decision(answer, { forced, threshold }) {
  const parts = [badge(answer.route), " ", make("code", { textContent: ROUTES[answer.route].token })];
  if (!forced) {
    parts.push(make("p", { className: "confidence", textContent: percent(answer.confidence) }));
    parts.push(make("p", { className: "muted", textContent: "confidence in this route" }));
    if (threshold !== null) parts.push(scale(answer, threshold));
  }
  if (answer.augmentation !== null) parts.push(wrote(answer.augmentation));
  parts.push(make("p", { textContent: why(answer, forced) }), make("h3", { textContent: "Where the time went" }), stages(answer.latency_ms));
  return parts;
}
