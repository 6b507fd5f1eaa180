// Files as documents: a picture is one, and so is each paragraph of a text file and each line of JSON Lines.
import { Fault } from "./fault.js";
import { readAsDataUri } from "./picture.js";

const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const MOST_ID_CHARACTERS = 512;

/** The files of a drop, those in folders included: [{file, path}], or {path, fault} for what cannot be read. */
export async function droppedFiles({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...files].map((file) => ({ file, path: file.name }));
  return (await Promise.all(entries.map(filesBelow))).flat();
}

/** Never rejects: a file or folder that cannot be read is told of, and the others go on. */
async function filesBelow(entry) {
  const path = entry.fullPath.replace(/^\//, "");
  const found = [];
  try {
    if (entry.isFile) {
      found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    } else {
      for await (const inner of entriesOf(entry)) found.push(...(await filesBelow(inner)));
    }
  } catch (error) {
    found.push({ path, fault: new Fault("could not be read", { detail: error.message }) });
  }
  return found;
}

async function* entriesOf(folder) {
  const reader = folder.createReader();
  for (;;) {
    // A folder is read in portions; an empty one is the end.
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (portion.length === 0) return;
    yield* portion;
  }
}

const idOf = (path) => path.slice(-MOST_ID_CHARACTERS);

async function pictureDocument({ file, path }, captions) {
  const text = captions ? file.name.replace(/\.\w+$/, "").replace(/[-_]+/g, " ") : undefined;
  return { id: idOf(path), image: await readAsDataUri(file), ...(text && { text }), metadata: { file: path } };
}

function* paragraphs(text, path) {
  const parts = text.split(/\r?\n\s*\r?\n/).map((part) => part.trim()).filter(Boolean);
  for (const [order, part] of parts.entries()) {
    yield { source: path, document: { id: idOf(parts.length > 1 ? `${path}#${order + 1}` : path), text: part, metadata: { file: path } } };
  }
}

function* lines(text, path) {
  for (const [order, line] of text.split(/\r?\n/).entries()) {
    if (!line.trim()) continue;
    const source = `${path}, line ${order + 1}`;
    let document;
    try {
      document = JSON.parse(line);
    } catch (error) {
      yield { source, fault: new Fault("not JSON", { detail: error.message }) };
      continue;
    }
    yield { source, document };
  }
}

/** The documents of one file: [{source, document}], or {source, fault} for what cannot be read. */
export async function documentsOf({ file, path, fault }, captions) {
  if (fault) return [{ source: path, fault }];
  try {
    if (PICTURES.includes(file.type)) return [{ source: path, document: await pictureDocument({ file, path }, captions) }];
    if (/\.jsonl$/i.test(path)) return [...lines(await file.text(), path)];
    if (/\.(txt|md)$/i.test(path)) return [...paragraphs(await file.text(), path)];
  } catch (error) {
    return [{ source: path, fault: error }];
  }
  return [{ source: path, fault: new Fault("neither a picture, nor .txt, .md or .jsonl") }];
}
