// Making and finding elements.

export const byId = (id) => document.getElementById(id);

/** An HTML element with properties (`className`, `textContent`, ...) and children. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** An SVG element with attributes and children; `text` becomes its text. */
export function draw(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** A horizontal bar that is filled to a share between 0 and 1. */
export function bar(share) {
  const element = make("span", { className: "bar", ariaHidden: "true" });
  element.style.setProperty("--share", Math.min(1, Math.max(0, share)));
  return element;
}
