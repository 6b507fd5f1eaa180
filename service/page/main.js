// The page's start: every part is set up, then the server is asked what it serves.
import { setUpAdding } from "./adding.js";
import { keyEvents } from "./api.js";
import { byId } from "./dom.js";
import { setUpFilter } from "./filter-form.js";
import { growWithText } from "./growing.js";
import { setUpKey } from "./key.js";
import { setUpLive, startLive } from "./live.js";
import { setUpPicture } from "./picture.js";
import { sayFault } from "./say.js";
import { chosenRoute, search, searchAgain } from "./searching.js";
import { listCollections, readInfo } from "./server.js";
import { setUpThreshold, showThreshold } from "./threshold.js";

async function greet() {
  try {
    await readInfo();
    showThreshold();
    startLive(); // first: the collections take another scope of the key, and may be refused
    await listCollections();
  } catch (fault) {
    if (fault.status !== 401) sayFault(fault);
  }
}

function chooseRoute(route) {
  document.querySelector(`[name=route][value=${route}]`).checked = true;
  routeChosen();
}

function routeChosen() {
  byId("threshold").disabled = ["embed", "augment"].includes(chosenRoute());
  searchAgain();
}

function setUpQuestion() {
  growWithText(byId("text"));
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  byId("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    search();
  });
  byId("route").addEventListener("change", routeChosen);
  byId("collection").addEventListener("change", searchAgain);
  byId("compare").addEventListener("click", () => {
    byId("compare").focus(); // Safari does not by itself, and the comparison takes over a focus that is here
    chooseRoute("compare");
  });
  byId("welcome").addEventListener("click", ({ target }) => {
    if (!target.dataset.example) return;
    byId("text").value = target.dataset.example;
    byId("text").dispatchEvent(new Event("input"));
    byId("text").focus(); // the examples go, the focus must not
    search();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("input:not([type=radio], [type=range], [type=checkbox]), textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    byId("text").focus();
  });
}

setUpKey();
setUpQuestion();
setUpPicture();
setUpFilter();
setUpThreshold(searchAgain);
setUpAdding();
setUpLive();
keyEvents.addEventListener("changed", async () => {
  await greet();
  searchAgain();
});
greet();
