// What is served: the model, its limits and threshold, and the collections.
import { json } from "./api.js";
import { byId } from "./dom.js";
import { say, sayFault } from "./say.js";
import { counted } from "./words.js";

/** Info of the server, or null until it has answered. */
export let info = null;

export const NEW = ""; // the value of "a new collection" among the places to add to

const ASK_AGAIN_SECONDS = 2;

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

/** A server that begins is no fault. */
function tell(fault) {
  if (fault.status === 503) say(`${fault.title}. ${fault.detail}`);
  else sayFault(fault);
}

/**
 * Ask what is served until it is told; while the model is loading or nobody answers, say so once and ask again.
 * Throws a Fault about the key: only another one helps, and begins anew.
 */
export async function readInfo() {
  let told = "";
  for (;;) {
    try {
      info = await json("/info");
      break;
    } catch (fault) {
      if ([401, 403].includes(fault.status)) throw fault;
      if (told !== fault.message) tell(fault); // the same again would be read out again
      told = fault.message;
      await pause(fault.retryAfter ?? ASK_AGAIN_SECONDS);
    }
  }
  if (told) say("");
  byId("served").textContent = `${info.model.name.split("/").at(-1)} on ${info.model.device}`;
  byId("k").max = info.limits.max_k;
}

/** List the collections in both choices, keeping what is chosen or choosing `wanted`. */
export async function listCollections(wanted = null) {
  const { collections } = await json("/collections");
  const option = ({ name, count }) => new Option(`${name} (${counted(count, "document")})`, name);
  fill(byId("collection"), collections.map(option), wanted);
  fill(byId("target"), [...collections.map(option), new Option("a new collection…", NEW)], wanted);
  byId("target").dispatchEvent(new Event("change"));
}

function fill(select, options, wanted) {
  const chosen = wanted ?? (select.value || "default");
  select.replaceChildren(...options);
  const names = options.map(({ value }) => value);
  select.value = [chosen, "default", names[0]].find((name) => names.includes(name)) ?? "";
}
