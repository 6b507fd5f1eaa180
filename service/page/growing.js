// A text field that is as high as its text. CSS's field-sizing does that alone where the browser knows it.

/** Make a field as high as its text. */
export function grow(field) {
  field.style.height = "auto"; // it shrinks, too
  field.style.height = `${field.scrollHeight}px`;
}

/** Keep a field as high as its text, also after the window's width has changed. */
export function growWithText(field) {
  if (CSS.supports("field-sizing", "content")) return;
  field.addEventListener("input", () => grow(field));
  addEventListener("resize", () => grow(field));
  grow(field);
}
