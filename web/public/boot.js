// Runs before the first paint, so that no white frame shows in dark mode.
(function () {
  var look = {};
  try {
    look = JSON.parse(localStorage.getItem("llamaswap.ui") || "{}").prefs || {};
    if (!look.theme) {
      var old = localStorage.getItem("theme-mode");
      look.theme = old ? JSON.parse(old) : "system";
    }
  } catch (e) {
    // storage refused or damaged: follow the system
  }
  var root = document.documentElement;
  var dark = look.theme === "dark" || (look.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "dark" : "light";
  if (look.contrast === true) root.dataset.contrast = "more";
  if (typeof look.accent === "string") root.dataset.accent = look.accent;
  if (look.density === "compact") root.dataset.density = "compact";
})();
