(() => {
  const form = document.getElementById("filter");
  form.hidden = false;
  const apply = () => {
    const want = Object.fromEntries(new FormData(form));
    for (const body of document.querySelectorAll("tbody[data-family]")) {
      body.hidden = Boolean(want.family) && body.dataset.family !== want.family;
    }
    for (const cell of document.querySelectorAll("[data-cell]")) {
      cell.hidden = Boolean(want.cell) && cell.dataset.cell !== want.cell
        || Boolean(want.dtype) && "dtype" in cell.dataset && cell.dataset.dtype !== want.dtype;
      cell.toggleAttribute("data-dim", Boolean(want.outcome) && "outcome" in cell.dataset && cell.dataset.outcome !== want.outcome);
    }
  };
  form.addEventListener("change", apply);
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => navigator.clipboard.writeText(button.previousElementSibling.textContent));
  }
})();
