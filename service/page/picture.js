// The picture to search with: chosen, dropped or pasted.
import { byId } from "./dom.js";
import { Fault } from "./fault.js";
import { say, sayFault } from "./say.js";

let dataUri = null;

/** The chosen picture as a data URI, or null. */
export const chosenPicture = () => dataUri;

export function readAsDataUri(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Fault("The file could not be read", { detail: file.name }));
    reader.readAsDataURL(file);
  });
}

function show(uri) {
  dataUri = uri;
  byId("picture").hidden = uri === null;
  if (uri === null) byId("preview").removeAttribute("src");
  else byId("preview").src = uri;
}

async function take(file) {
  if (!file.type.startsWith("image/")) {
    sayFault(new Fault("That is not a picture", { detail: `${file.name} was not taken. Documents are added below.` }));
    return;
  }
  try {
    show(await readAsDataUri(file));
    say("The picture is ready to search with.");
  } catch (fault) {
    sayFault(fault);
  }
}

const carriesFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files") ?? false;

/** Mark an element while files are dragged over it, and hand what is dropped to `onDrop`. Dragged text is left to the browser. */
export function acceptDrops(element, onDrop) {
  const mark = (on) => element.classList.toggle("dropping", on);
  element.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    mark(true);
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) mark(false);
  });
  element.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    mark(false);
    onDrop(event.dataTransfer);
  });
}

export function setUpPicture() {
  const input = byId("image");
  const takeFirst = ({ files }) => files.length && take(files[0]);
  input.addEventListener("change", () => {
    takeFirst(input);
    input.value = ""; // the same file may be chosen again after it was removed
  });
  acceptDrops(byId("drop"), takeFirst);
  document.addEventListener("paste", ({ clipboardData }) => takeFirst(clipboardData));
  byId("clear").addEventListener("click", () => {
    show(null);
    byId("text").focus();
  });
  // A file that misses its place must not replace the page.
  for (const name of ["dragover", "drop"]) {
    document.addEventListener(name, (event) => carriesFiles(event) && event.preventDefault());
  }
}
