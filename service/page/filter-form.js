// The filter's form: rows of conditions, or raw JSON. The one that shows is the one that counts.
import { byId, make } from "./dom.js";
import { OPERATORS, filterFromJson, filterOf } from "./filter.js";

const raw = () => byId("filter-raw").checked;
const rows = () => [...byId("filter-rows").children];

function conditions() {
  return rows().map((row) => {
    const [name, operator, value] = row.querySelectorAll("input, select");
    return { name: name.value, operator: operator.value, value: value.value };
  });
}

/** The filter to search with, or null. Throws a Fault for JSON that is none. */
export const chosenFilter = () => (raw() ? filterFromJson(byId("filter-json").value) : filterOf(conditions()));

/** Offer the metadata's names of documents that were found. */
export function offerNames(results) {
  const names = new Set(results.flatMap(({ metadata }) => Object.keys(metadata)));
  byId("filter-names").replaceChildren(...[...names].sort().map((name) => new Option(name)));
}

function addRow() {
  const name = make("input", { ariaLabel: "Field", placeholder: "field, e.g. kind" });
  name.setAttribute("list", "filter-names");
  const operator = make("select", { ariaLabel: "Comparison" });
  operator.append(...Object.entries(OPERATORS).map(([value, label]) => new Option(label, value)));
  const value = make("input", { ariaLabel: "Value", placeholder: "value" });
  const remove = make("button", { type: "button", textContent: "Remove", ariaLabel: "Remove this condition" });
  const row = make("div", { className: "condition" }, name, operator, value, remove);
  operator.addEventListener("change", () => {
    value.disabled = operator.value === "exists" || operator.value === "absent";
    value.placeholder = operator.value === "in" ? "values, with commas between" : "value";
  });
  remove.addEventListener("click", () => {
    row.remove();
    byId("filter-add").focus();
    label();
  });
  byId("filter-rows").append(row);
  return name;
}

function label() {
  let active = false;
  try {
    active = chosenFilter() !== null;
  } catch {
    active = true; // it is in force, and the search will say what is wrong with it
  }
  byId("filter-toggle").textContent = active ? "Filter: on" : "Filter";
}

function showRaw() {
  if (raw()) {
    const filter = filterOf(conditions());
    if (filter !== null) byId("filter-json").value = JSON.stringify(filter, null, 2);
  }
  byId("filter-json-field").hidden = !raw();
  byId("filter-rows").hidden = raw();
  byId("filter-add").hidden = raw();
  label();
}

export function setUpFilter() {
  const toggle = byId("filter-toggle");
  toggle.addEventListener("click", () => {
    const open = byId("filter").hidden;
    byId("filter").hidden = !open;
    toggle.setAttribute("aria-expanded", open);
    if (open && rows().length === 0) addRow();
    if (open && !raw()) rows()[0].querySelector("input").focus();
  });
  byId("filter-add").addEventListener("click", () => addRow().focus());
  byId("filter-clear").addEventListener("click", () => {
    byId("filter-rows").replaceChildren();
    byId("filter-json").value = "";
    addRow();
    label();
  });
  byId("filter-raw").addEventListener("change", showRaw);
  byId("filter").addEventListener("input", label);
}
