// Line charts over the last minutes, drawn as SVG in the pixels that they have.
import { draw } from "./dom.js";

const MARGIN = { top: 10, right: 10, bottom: 22, left: 58 };

/** A round number of at least `value`: 1, 2 or 5 times a power of ten. */
export function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= value * (1 - 1e-9));
}

function axes({ x, y, top, span, width, unit }) {
  const across = [0, 0.5, 1].flatMap((share) => [
    draw("line", { class: "rule", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(top * share), y2: y(top * share) }),
    draw("text", { x: MARGIN.left - 8, y: y(top * share) + 4, "text-anchor": "end", text: unit(top * share) }),
  ]);
  const along = [
    draw("text", { x: x(-span), y: y(0) + 18, text: `${Math.round(span / 60)} min ago` }),
    draw("text", { x: x(0), y: y(0) + 18, "text-anchor": "end", text: "now" }),
  ];
  return [...across, ...along];
}

/**
 * Draw series into an <svg>.
 * `series`: [{className, points: [[seconds before now, as a negative number; value], ...], dots}].
 * `span`: seconds that the width stands for; `unit`: writes a value; `least`: the least top of the scale.
 */
export function lineChart(svg, series, { span, unit, least, label }) {
  const { width, height } = svg.getBoundingClientRect();
  if (width === 0) return;
  const top = roundUp(Math.max(least, ...series.flatMap(({ points }) => points.map(([, value]) => value))));
  const x = (at) => MARGIN.left + (1 + at / span) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => height - MARGIN.bottom - (value / top) * (height - MARGIN.top - MARGIN.bottom);
  const lines = series.flatMap(({ className, points, dots }) => {
    const path = points.map(([at, value], order) => `${order ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const marks = dots ? points.map(([at, value]) => draw("circle", { class: className, cx: x(at), cy: y(value), r: 3 })) : [];
    return [draw("path", { class: `line ${className}`, d: path || "M0 0" }), ...marks];
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(...axes({ x, y, top, span, width, unit }), ...lines);
}
