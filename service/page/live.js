// The live charts: /metrics, asked every few seconds while they can be seen.
import { call } from "./api.js";
import { lineChart } from "./charts.js";
import { byId, make } from "./dom.js";
import { meanBetween, parseMetrics, totals } from "./metrics.js";
import { info } from "./server.js";
import { ROUTES, counted, milliseconds, seconds } from "./words.js";

const EVERY_SECONDS = 3;
const SPAN_SECONDS = 300;
const NOTHING = { count: 0, seconds: 0 };

let latest = null; // totals of the last scrape
let history = []; // [{at, saved, embed, augment}]: the means are of the queries since the scrape before
let timer = null;
let inView = false;
let asking = false;
let refused = false; // the key may not ask; another one may

/** Mean milliseconds of a route's queries since the server was started, or null if it had none. */
export const meanLatency = (route) => (latest === null ? null : meanBetween(NOTHING, latest[route]));

function remember(now) {
  const between = (route) => (latest === null ? null : meanBetween(latest[route], now[route]));
  const at = performance.now() / 1000;
  history.push({ at, saved: now.saved, embed: between("embed"), augment: between("augment") });
  history = history.filter((entry) => entry.at > at - SPAN_SECONDS);
  latest = now;
}

function points(field) {
  const now = performance.now() / 1000;
  return history.filter((entry) => entry[field] !== null).map((entry) => [entry.at - now, entry[field]]);
}

/** One line of the legend. The lines differ by colour and by how they are drawn, which it says. */
function legend(route) {
  const { count } = latest[route];
  const drawn = { embed: "solid line, dots", augment: "dashed line, rings" }[route];
  const text = count ? `${milliseconds(meanLatency(route))} mean of ${counted(count, "query", "queries")}` : "no queries yet";
  return make("li", { className: route, textContent: `${ROUTES[route].name} (${drawn}): ${text}` });
}

function show() {
  if (latest === null) return;
  const items = Object.keys(ROUTES).map(legend);
  byId("latency-legend").replaceChildren(...items);
  const series = Object.keys(ROUTES).map((route) => ({ className: route, points: points(route), dots: true }));
  const spoken = items.map(({ textContent }) => textContent).join("; ");
  lineChart(byId("latency-chart"), series, { span: SPAN_SECONDS, unit: milliseconds, least: 10, label: `Latency by route. ${spoken}.` });
  byId("saved").textContent = seconds(latest.saved);
  const saved = [{ className: "embed", points: points("saved"), dots: false }];
  lineChart(byId("saved-chart"), saved, { span: SPAN_SECONDS, unit: seconds, least: 0.1, label: `Seconds saved: ${seconds(latest.saved)} in all.` });
}

async function poll() {
  if (asking) return;
  asking = true;
  try {
    remember(totals(parseMetrics(await (await call("/metrics")).text())));
    byId("live-fault").hidden = true;
    show();
  } catch (fault) {
    byId("live-fault").textContent = `Not up to date: ${fault.title ?? fault.message}.`;
    byId("live-fault").hidden = false;
    refused = [401, 403].includes(fault.status);
    if (refused) stop();
  } finally {
    asking = false;
  }
}

function stop() {
  clearInterval(timer);
  timer = null;
}

function start() {
  const wanted = !refused && info !== null && inView && document.visibilityState === "visible";
  if (!wanted) stop();
  else if (timer === null) {
    timer = setInterval(poll, EVERY_SECONDS * 1000);
    poll();
  }
}

/** Ask now, so that what was just searched is counted. */
export const pollSoon = () => refused || poll();

/** Begin once the server has answered, and begin again after a key was given. */
export function startLive() {
  refused = false;
  stop();
  start();
}

export function setUpLive() {
  new IntersectionObserver((entries) => {
    inView = entries.at(-1).isIntersecting;
    start();
  }).observe(byId("live"));
  document.addEventListener("visibilitychange", start);
  new ResizeObserver(show).observe(byId("latency-chart"));
}
