// The field for an API key. It shows only after the server has refused a call for want of one.
import { keyEvents, setKey, storedKey } from "./api.js";
import { byId } from "./dom.js";
import { sayFault } from "./say.js";

export function setUpKey() {
  const show = () => {
    byId("key-used").hidden = storedKey() === null;
  };
  keyEvents.addEventListener("needed", ({ detail: fault }) => {
    const appears = byId("key-form").hidden;
    byId("key-form").hidden = false;
    if (storedKey() !== null) sayFault(fault);
    if (appears) byId("key").focus();
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("key-form").hidden = true;
    byId("fault").replaceChildren();
    const key = byId("key").value.trim();
    byId("key").value = "";
    byId("text").focus(); // before the key is tried: if it is none, the field for it takes the focus back
    setKey(key);
  });
  byId("forget-key").addEventListener("click", () => {
    byId("text").focus(); // the button goes
    setKey(null);
  });
  keyEvents.addEventListener("changed", show);
  show();
}
