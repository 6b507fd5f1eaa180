// The threshold: the probability of thinking first from which the model does so. The checkpoint's own until moved.
import { byId } from "./dom.js";
import { info } from "./server.js";
import { percent } from "./words.js";

let moved = false;

/** What to send: null leaves it to the server. */
export const chosenThreshold = () => (moved ? byId("threshold").valueAsNumber : null);

/** The checkpoint's own; null while it is unknown. */
export const ownThreshold = () => info?.augment_threshold ?? null;

/** What holds for the next search; null while the checkpoint's is unknown. */
export const heldThreshold = () => chosenThreshold() ?? ownThreshold();

export function showThreshold() {
  const held = heldThreshold();
  if (!moved && held !== null) byId("threshold").value = held;
  byId("threshold-value").textContent = held === null ? "" : percent(held);
  byId("threshold").setAttribute("aria-valuetext", `a probability of ${byId("threshold-value").textContent}`);
  byId("threshold-reset").hidden = !moved;
}

/** `onChange` is called when another value was settled on. */
export function setUpThreshold(onChange) {
  byId("threshold").addEventListener("input", () => {
    moved = true;
    showThreshold();
  });
  byId("threshold").addEventListener("change", onChange);
  byId("threshold-reset").addEventListener("click", () => {
    moved = false;
    showThreshold();
    byId("threshold").focus();
    onChange();
  });
}
