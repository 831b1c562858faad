// The colour scheme: as the system's, or as last chosen here; set before anything is painted.
const Theme = (() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];

  function stored() {
    try { return localStorage.getItem("droq-exp-theme") || "auto"; } catch { return "auto"; }  // storage may be denied
  }
  function apply(choice) {
    if (choice === "auto") delete root.dataset.theme; else root.dataset.theme = choice;
    listeners.forEach((listener) => listener());
  }
  function choose(choice) {
    try { localStorage.setItem("droq-exp-theme", choice); } catch { /* then it holds for this page view only */ }
    apply(choice);
  }
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";

  apply(stored());
  system.addEventListener("change", () => listeners.forEach((listener) => listener()));
  document.addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("theme");
    select.value = stored();
    select.addEventListener("change", () => choose(select.value));
  });
  return { dark, onChange: (listener) => listeners.push(listener) };
})();
