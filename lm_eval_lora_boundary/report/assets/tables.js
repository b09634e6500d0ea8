// Tables sorted by mouse or keyboard, with some columns at first and all on demand.

function sortRows(table, column, descending) {
  const body = table.tBodies[0];
  const key = (row) => {
    const value = row.cells[column].dataset.sort;
    return value === undefined ? null : Number(value);
  };
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return (x === null) - (y === null); // missing values are always last
    return descending ? y - x : x - y;
  });
  body.append(...rows);
}

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = el("button", { type: "button" }, ...heading.childNodes);
    button.addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortRows(table, column, descending);
    });
    heading.replaceChildren(button);
  });
}

function makeShort(grid) {
  const button = el("button", { type: "button", className: "columns-button" });
  const show = (all) => {
    grid.classList.toggle("short", !all);
    button.textContent = all ? "Fewer columns" : "All columns";
    button.setAttribute("aria-expanded", String(all));
  };
  button.addEventListener("click", () => show(grid.classList.contains("short")));
  show(false);
  grid.querySelector(".scroll").after(button);
}
