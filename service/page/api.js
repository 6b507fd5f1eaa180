// Every call to the server. The key is kept for this tab alone, and only once the server has asked for one.
import { Fault, faultOf, noAnswer } from "./fault.js";

const KEY = "solomon-api-key";

/** Told of each refusal for want of a valid key, and of each change of the key. */
export const keyEvents = new EventTarget();

export const storedKey = () => sessionStorage.getItem(KEY);

export function setKey(key) {
  if (key === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key);
  keyEvents.dispatchEvent(new Event("changed"));
}

/** A header cannot carry every character; this is the refusal that a key with another one gets without being sent. */
const unsendable = () =>
  new Fault("That cannot be the API key", { detail: "It has characters that a key cannot have. Was it copied whole?", status: 401 });

/** Have the page ask for a key; gives the fault that says why. */
function needKey(fault) {
  keyEvents.dispatchEvent(new CustomEvent("needed", { detail: fault }));
  return fault;
}

/** The answer to a call. Throws a Fault, or an AbortError if `signal` stopped it. */
export async function call(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  const key = storedKey();
  if (/[^\t\x20-\x7e\x80-\xff]/.test(key ?? "")) throw needKey(unsendable());
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    throw error.name === "AbortError" ? error : noAnswer();
  }
  if (response.ok) return response;
  const fault = await faultOf(response);
  throw fault.status === 401 ? needKey(fault) : fault;
}

export async function json(path, options) {
  const response = await call(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Fault("The server's answer cannot be read");
  }
}

export const collectionPath = (name) => `/collections/${encodeURIComponent(name)}`;
