// The documents that were found, as cards.
import { call, storedKey } from "./api.js";
import { bar, make } from "./dom.js";

/** A document's picture. An <img> cannot carry a key, so with one the picture is fetched. */
export function picture(result) {
  const image = make("img", { alt: result.text || result.id, loading: "lazy", decoding: "async" });
  if (storedKey() === null) image.src = result.image_url;
  else fetchPicture(image, result.image_url);
  return image;
}

async function fetchPicture(image, url) {
  try {
    const address = URL.createObjectURL(await (await call(url)).blob());
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.src = address;
  } catch {
    image.alt = `${image.alt} (its picture could not be fetched)`;
  }
}

function facts(result) {
  const list = make("dl", { className: "facts" });
  for (const [name, value] of [["id", result.id], ...Object.entries(result.metadata)]) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    list.append(make("dt", { textContent: name }), make("dd", { textContent: text }));
  }
  return list;
}

export function card(result) {
  const item = make("li", { className: result.image_url ? "card" : "card only-text" });
  if (result.image_url) item.append(picture(result));
  item.append(
    make("p", { className: "words", textContent: result.text || result.id }),
    make("div", { className: "score" }, bar(result.score), make("span", { title: "Cosine similarity", textContent: result.score.toFixed(3) })),
    make("details", {}, make("summary", { textContent: "Details" }), facts(result)),
  );
  return item;
}
