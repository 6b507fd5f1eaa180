"use strict";

const element = (id) => document.getElementById(id);
let picture = null; // data URI of the chosen image
let running = null; // AbortController of the search under way

function say(message, fault = false) {
  element("status").textContent = message;
  element("status").classList.toggle("fault", fault);
}

function readAsDataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file could not be read."));
    reader.readAsDataURL(file);
  });
}

function showPicture() {
  element("preview").hidden = picture === null;
  element("clear").hidden = picture === null;
  if (picture === null) element("preview").removeAttribute("src");
  else element("preview").src = picture;
}

async function choosePicture() {
  const file = element("image").files[0];
  try {
    picture = file ? await readAsDataUri(file) : null;
  } catch (error) {
    picture = null;
    say(error.message, true);
  }
  showPicture();
}

function clearPicture() {
  element("image").value = "";
  picture = null;
  showPicture();
  element("text").focus();
}

function resultCard(result) {
  const card = document.createElement("li");
  if (result.image_url) {
    const image = document.createElement("img");
    image.src = result.image_url;
    image.alt = result.text || result.id;
    image.loading = "lazy";
    card.append(image);
  }
  const text = document.createElement("div");
  text.textContent = result.text || result.id;
  const score = document.createElement("div");
  score.className = "score";
  score.textContent = `${result.score.toFixed(3)} · ${result.id}`;
  card.append(text, score);
  return card;
}

const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function showAnswer(answer) {
  element("taken").textContent = answer.route === "augment" ? "/augment (thought first)" : "/embed (at once)";
  element("confidence").textContent = answer.confidence === null ? "none" : `${(100 * answer.confidence).toFixed(1)} %`;
  element("embed-time").textContent = milliseconds(answer.latency_ms.embed);
  element("index-time").textContent = milliseconds(answer.latency_ms.index);
  element("total-time").textContent = milliseconds(answer.latency_ms.total);
  element("augmentation-row").hidden = answer.augmentation === null;
  element("augmentation").textContent = answer.augmentation || "";
  element("decision").hidden = false;
  element("results").replaceChildren(...answer.results.map(resultCard));
  say(answer.results.length ? "" : "The collection holds nothing that fits.");
}

async function search(event) {
  event.preventDefault();
  const text = element("text").value.trim();
  if (!text && picture === null) {
    say("Write something or choose a picture.", true);
    element("text").focus();
    return;
  }
  running?.abort();
  const mine = new AbortController();
  running = mine;
  say("Searching…");
  const query = {};
  if (text) query.text = text;
  if (picture !== null) query.image = picture;
  try {
    const response = await fetch("/search", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        query,
        route: element("route").value,
        collection: element("collection").value,
        k: Number(element("k").value) || 12,
      }),
      signal: mine.signal,
    });
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail || body.title || `The server answered ${response.status}.`);
    showAnswer(body);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  }
}

async function listCollections() {
  try {
    const response = await fetch("/collections");
    const body = await response.json();
    if (!response.ok) throw new Error(body.detail);
    const options = body.collections.map((collection) => {
      const option = new Option(`${collection.name} (${collection.count})`, collection.name);
      option.selected = collection.name === "default";
      return option;
    });
    if (options.length) element("collection").replaceChildren(...options);
  } catch (error) {
    say(error.message, true);
  }
}

element("form").addEventListener("submit", search);
element("image").addEventListener("change", choosePicture);
element("clear").addEventListener("click", clearPicture);
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    element("text").focus();
  }
});
listCollections();
