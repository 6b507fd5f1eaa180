// Prometheus' text format, and what the charts read of it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Every sample of a scrape: [{name, labels, value}]. */
export function parseMetrics(text) {
  return text
    .split("\n")
    .filter((line) => line && !line.startsWith("#"))
    .map((line) => LINE.exec(line))
    .filter(Boolean)
    .map(([, name, labels = "", value]) => ({
      name,
      labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, label, word]) => [label, word])),
      value: Number(value),
    }));
}

function sum(samples, name, wanted = {}) {
  return samples
    .filter((one) => one.name === name && Object.entries(wanted).every(([label, word]) => one.labels[label] === word))
    .reduce((total, { value }) => total + value, 0);
}

/** Totals since the server was started: queries of each route and their seconds, and seconds saved. */
export function totals(samples) {
  const of = (route) => {
    const wanted = { input_type: "query", route };
    return {
      count: sum(samples, "solomon_embed_latency_seconds_count", wanted),
      seconds: sum(samples, "solomon_embed_latency_seconds_sum", wanted),
    };
  };
  return { embed: of("embed"), augment: of("augment"), saved: sum(samples, "solomon_augment_seconds_saved_total") };
}

/** Mean milliseconds of the queries between two totals, or null if there were none (or the server started anew). */
export function meanBetween(before, after) {
  const count = after.count - before.count;
  return count > 0 && after.seconds >= before.seconds ? (1000 * (after.seconds - before.seconds)) / count : null;
}
