// Filters as conditions [{name, operator, value}] of the form, and as the JSON that the server takes.
import { Fault } from "./fault.js";

export const OPERATORS = {
  eq: "is",
  ne: "is not",
  in: "is one of",
  gte: "is at least",
  gt: "is more than",
  lte: "is at most",
  lt: "is less than",
  exists: "is there",
  absent: "is not there",
};

/** What was typed as JSON would have it: numbers and true/false as themselves, "…" as text, all else as text. */
function typed(word) {
  const trimmed = word.trim();
  if (/^(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|"(.*)")$/.test(trimmed)) {
    try {
      return JSON.parse(trimmed);
    } catch {
      return trimmed;
    }
  }
  return trimmed;
}

function meaning({ operator, value }) {
  if (operator === "exists" || operator === "absent") return { exists: operator === "exists" };
  if (operator === "in") return { in: value.split(",").map(typed) };
  return operator === "eq" ? typed(value) : { [operator]: typed(value) };
}

/** The filter that conditions make, or null if none names a field. All of them must hold. */
export function filterOf(conditions) {
  const parts = conditions
    .filter(({ name }) => name.trim())
    .map((condition) => ({ [condition.name.trim()]: meaning(condition) }));
  if (parts.length === 0) return null;
  const names = new Set(parts.flatMap(Object.keys));
  return names.size === parts.length ? Object.assign({}, ...parts) : { $and: parts };
}

/** The filter that was written as JSON, or null if nothing was. Throws a Fault for what is no JSON object. */
export function filterFromJson(text) {
  if (!text.trim()) return null;
  let filter;
  try {
    filter = JSON.parse(text);
  } catch (error) {
    throw new Fault("The filter is not JSON", { detail: error.message });
  }
  if (filter === null || typeof filter !== "object" || Array.isArray(filter)) {
    throw new Fault("The filter is not a JSON object", { detail: 'Write it as {"name": "value"}.' });
  }
  return Object.keys(filter).length ? filter : null;
}
