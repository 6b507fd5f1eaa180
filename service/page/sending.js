// Documents to the server in batches. What it refuses is named and left out; the rest goes on.
import { collectionPath, json } from "./api.js";

const MOST_DOCUMENTS = 16; // of a batch, so that progress is seen
const SHARE_OF_BODY = 0.5; // of the largest body that the server takes
const MOST_WAITS = 20;
const ABOUT_THE_INPUT = [400, 413, 415, 422];

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** Split entries [{source, document}] into batches that the server's limits allow. */
export function batches(entries, { max_items, max_body_bytes }) {
  const done = [];
  let [batch, bytes] = [[], 0];
  for (const entry of entries) {
    const size = 2 * (entry.document?.text?.length ?? 0) + (entry.document?.image?.length ?? 0) + 1000;
    const full = batch.length >= Math.min(MOST_DOCUMENTS, max_items) || bytes + size > SHARE_OF_BODY * max_body_bytes;
    if (batch.length && full) {
      done.push(batch);
      [batch, bytes] = [[], 0];
    }
    batch.push(entry);
    bytes += size;
  }
  return batch.length ? [...done, batch] : done;
}

async function post(name, batch, signal) {
  for (let waits = 0; ; waits += 1) {
    try {
      const body = { documents: batch.map(({ document }) => document) };
      return await json(`${collectionPath(name)}/documents`, { method: "POST", body, signal });
    } catch (fault) {
      const busy = fault.status === 429 || fault.status === 503;
      if (!busy || waits >= MOST_WAITS) throw fault;
      await pause(fault.retryAfter ?? 2, signal);
    }
  }
}

/** Which entries of a batch a fault is about: Map of position to message. */
function blamed(fault) {
  const found = new Map();
  for (const { field, message, mend } of fault.errors ?? []) {
    const position = /^documents\[(\d+)\]/.exec(field)?.[1];
    if (position !== undefined) found.set(Number(position), mend ? `${message} ${mend}` : message);
  }
  return found;
}

/**
 * Add a batch, all but what is refused. Returns {added, refused: [{source, reason}]}.
 * Throws a Fault that is about more than its documents: a full disk, a dropped collection, a missing key.
 */
export async function addBatch(name, batch, signal) {
  try {
    await post(name, batch, signal);
    return { added: batch.length, refused: [] };
  } catch (fault) {
    if (!ABOUT_THE_INPUT.includes(fault.status)) throw fault;
    const guilty = blamed(fault);
    if (guilty.size) {
      const rest = batch.filter((_, position) => !guilty.has(position));
      const refused = [...guilty].map(([position, reason]) => ({ source: batch[position].source, reason }));
      return merge({ added: 0, refused }, rest.length ? await addBatch(name, rest, signal) : null);
    }
    if (batch.length === 1) return { added: 0, refused: [{ source: batch[0].source, reason: fault.message }] };
    let outcome = { added: 0, refused: [] };
    for (const entry of batch) outcome = merge(outcome, await addBatch(name, [entry], signal));
    return outcome;
  }
}

const merge = (one, other) =>
  other === null ? one : { added: one.added + other.added, refused: [...one.refused, ...other.refused] };
