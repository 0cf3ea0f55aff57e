(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = document.getElementById("filter");
  const said = form.querySelector("output");
  const matches = (codes, wanted) => codes.split(",").every((code, k) => wanted[k] === "" || wanted[k] === code);
  const shown = (element, selector) => !element.querySelector(selector) || element.querySelector(selector + ":not(.out)");

  function apply() {
    const wanted = all("select", form).map((select) => select.value);
    for (const e of all("[data-u]")) e.classList.toggle("out", !matches(e.dataset.u, wanted));
    for (const e of all("[data-any]"))
      e.classList.toggle("out", !e.dataset.any.split(" ").some((codes) => matches(codes, wanted)));
    for (const row of all(".checks tbody tr:not(.family)")) row.classList.toggle("out", !shown(row, "td[data-u]"));
    for (const body of all(".checks tbody")) body.classList.toggle("out", !shown(body, "tr:not(.family)"));
    for (const e of all(".finding, #blocked .bundle, .spreads"))
      e.classList.toggle("out", !all("[data-u], [data-any]", e).some((one) => !one.classList.contains("out")));
    const units = all(".units tr[data-u]");
    const left = units.filter((row) => !row.classList.contains("out")).length;
    said.textContent = left === units.length ? "" : left + " of " + units.length + " units";
  }

  form.hidden = false;
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("button").addEventListener("click", () => {
    form.reset();
    apply();
  });
  apply();

  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    if (target) target.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();

  for (const text of all(".copied pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    text.after(button);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
        button.textContent = "Selected";
      }
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }
})();
