// What the page says of itself: the status line, which is read out politely, and faults, which are read at once.
import { byId, make } from "./dom.js";
import { Fault } from "./fault.js";

export function say(message) {
  byId("fault").replaceChildren();
  byId("status").textContent = message;
}

/** Show a fault in words. A search that another took over is none. */
export function sayFault(error) {
  if (error.name === "AbortError") return;
  byId("status").textContent = "";
  byId("fault").replaceChildren(...wordsOf(error));
}

function wordsOf(error) {
  const [title, detail] = error instanceof Fault ? [error.title, error.detail] : ["Something went wrong", error.message];
  const words = [make("strong", { textContent: title })];
  const errors = error.errors ?? [];
  if (errors.length > 1) {
    const lines = errors.map(({ field, message, mend }) =>
      make("li", { textContent: `${field}: ${message}${mend ? ` ${mend}` : ""}` }),
    );
    words.push(make("ul", {}, ...lines));
  } else if (detail) {
    words.push(make("p", { textContent: detail }));
  }
  return words;
}
