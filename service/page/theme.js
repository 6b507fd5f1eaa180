// The theme button. A classic script in the head, so that a stored choice holds before the first paint.
"use strict";

(() => {
  const NAME = "solomon-theme";
  const THEMES = ["auto", "light", "dark"];

  function stored() {
    try {
      return localStorage.getItem(NAME);
    } catch {
      return null; // storage is forbidden here: the system's theme it is
    }
  }

  let theme = THEMES.includes(stored()) ? stored() : "auto";

  function apply() {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }

  apply();
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const label = () => (button.textContent = `Theme: ${theme}`);
    label();
    button.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      apply();
      label();
      try {
        localStorage.setItem(NAME, theme);
      } catch {
        // Not kept; it still holds for this visit.
      }
    });
  });
})();
