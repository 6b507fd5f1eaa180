// Numbers as people read them, and the two routes by name.

export const ROUTES = {
  embed: { done: "Embedded at once", name: "Embed at once", token: "/embed" },
  augment: { done: "Thought first", name: "Think first", token: "/augment" },
};

export const milliseconds = (value) => `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

/** A probability. What is nearly certain is not called certain. */
export function percent(share) {
  if (share > 0.999 && share < 1) return "> 99.9 %";
  if (share < 0.001 && share > 0) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

export function seconds(value) {
  if (value === 0) return "0 s";
  if (value < 120) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  return value < 7200 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`;
}

export const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
