// The panel that adds documents: files in, progress, and what was refused and why.
import { collectionPath, json } from "./api.js";
import { byId, make } from "./dom.js";
import { Fault } from "./fault.js";
import { acceptDrops } from "./picture.js";
import { documentsOf, droppedFiles } from "./reading.js";
import { addBatch, batches } from "./sending.js";
import { NEW, info, listCollections } from "./server.js";
import { counted } from "./words.js";

let running = null; // AbortController of the job under way

function refuse({ source, reason }) {
  byId("refused").append(make("li", { textContent: `${source}: ${reason}` }));
}

/** The collection to add to; one that is new is made first. */
async function target() {
  const chosen = byId("target").value;
  if (chosen !== NEW) return chosen;
  const name = byId("new-name").value.trim();
  if (!name) {
    byId("new-name").focus();
    throw new Fault("The new collection needs a name", { detail: "Write one, then choose the files again." });
  }
  await json(collectionPath(name), { method: "PUT" });
  return name;
}

const bytesOf = ({ file }) => file?.size ?? 0; // a file of a drop that could not be read is none

/** The documents of one file that can be sent, each with its share of the file's bytes; what cannot be read is listed. */
async function readFile(file, progress) {
  const entries = await documentsOf(file, byId("captions").checked);
  const share = bytesOf(file) / Math.max(1, entries.length);
  const [faults, good] = [entries.filter(({ fault }) => fault), entries.filter(({ fault }) => !fault)];
  for (const { source, fault } of faults) {
    refuse({ source, reason: [fault.title, fault.detail].filter(Boolean).join(": ") || fault.message });
  }
  progress.read(bytesOf(file) - share * good.length);
  return good.map((entry) => ({ ...entry, share }));
}

/** Files go out as they are read, a batch at a time, so that a folder need not fit into memory. */
async function addAll(files, name, signal, progress) {
  let waiting = [];
  const flush = async (everything) => {
    const ready = batches(waiting, info.limits);
    waiting = everything ? [] : (ready.pop() ?? []);
    for (const batch of ready) {
      const { added, refused } = await addBatch(name, batch, signal);
      refused.forEach(refuse);
      progress.sent(added, batch.reduce((bytes, { share }) => bytes + share, 0));
    }
  };
  for (const file of files) {
    signal.throwIfAborted();
    waiting.push(...(await readFile(file, progress)));
    await flush(false);
  }
  await flush(true);
}

/** How far the files are: a document's bytes count once it was sent, so that one large file moves the bar, too. */
function progressOf(files) {
  const bytes = Math.max(1, files.reduce((total, file) => total + bytesOf(file), 0));
  const state = { added: 0, files: 0, bytes: 0 };
  const show = () => {
    byId("progress").value = state.bytes / bytes;
    byId("progress-text").textContent = `${counted(state.added, "document")} added, ${state.files} of ${counted(files.length, "file")} read`;
  };
  show();
  return {
    state,
    read: (unsendable) => ((state.files += 1), (state.bytes += unsendable), show()),
    sent: (added, share) => ((state.added += added), (state.bytes += share), show()),
  };
}

async function add(files) {
  if (files.length === 0) return tell("There is no file in what was dropped.");
  if (running !== null) return tell("Documents are being added; wait for their end, or stop it.");
  running = new AbortController();
  byId("refused").replaceChildren();
  tell("");
  const progress = progressOf(files);
  let name = null;
  try {
    if (info === null) throw new Fault("The server has not answered yet", { detail: "Try again in a moment." });
    name = await target();
    byId("sending").hidden = false;
    await addAll(files, name, running.signal, progress);
    tell(`${counted(progress.state.added, "document")} added to ${name} and ready to search.`);
  } catch (error) {
    const why = error.name === "AbortError" ? "Stopped" : [error.title, error.detail].filter(Boolean).join(": ") || error.message;
    const kept = progress.state.added ? ` ${counted(progress.state.added, "document")} had been added.` : "";
    tell(`${why.replace(/\.$/, "")}.${kept}`);
  } finally {
    running = null;
    if (byId("sending").contains(document.activeElement)) byId("files").focus(); // Stop goes, the focus must not
    byId("sending").hidden = true;
    if (name !== null) await listCollections(name).catch(() => {}); // the next search tells what is wrong
  }
}

const tell = (message) => void (byId("added").textContent = message);

export function setUpAdding() {
  byId("target").addEventListener("change", () => {
    byId("new-name-field").hidden = byId("target").value !== NEW;
  });
  byId("files").addEventListener("change", () => {
    const files = [...byId("files").files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
    byId("files").value = "";
    add(files);
  });
  acceptDrops(byId("add-drop"), async (transfer) => add(await droppedFiles(transfer)));
  byId("add-form").addEventListener("submit", (event) => event.preventDefault());
  byId("stop").addEventListener("click", () => running?.abort());
}
