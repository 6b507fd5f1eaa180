// The threshold: the probability of thinking first from which the model does so. The checkpoint's own until moved.
import { byId } from "./dom.js";
import { info } from "./server.js";

let moved = false;

/** What to send: null leaves it to the server. */
export const chosenThreshold = () => (moved ? byId("threshold").valueAsNumber : null);

/** What holds for the next search; null while the server's is unknown. */
export const heldThreshold = () => chosenThreshold() ?? info?.augment_threshold ?? null;

export function showThreshold() {
  const held = heldThreshold();
  if (!moved && held !== null) byId("threshold").value = held;
  byId("threshold-value").textContent = held === null ? "" : `${Math.round(100 * held)} %`;
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
