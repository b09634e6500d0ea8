// Start tables at once, and documents when they scroll near the viewport.

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
document.querySelectorAll(".grid[data-more]").forEach(makeShort);

const views = [];
const waiting = new Set(document.querySelectorAll(".documents"));
const start = (host) => {
  if (!waiting.delete(host)) return;
  host.classList.remove("waiting");
  const source = document.getElementById(host.dataset.payload);
  views.push(new Documents(host, JSON.parse(source.textContent)));
  source.remove();
};
const observer = new IntersectionObserver(
  (entries) => entries.filter((each) => each.isIntersecting).forEach((each) => start(each.target)),
  { rootMargin: "800px" },
);
waiting.forEach((host) => {
  host.classList.add("waiting"); // reserves space, so that the page does not jump when documents appear
  observer.observe(host);
});
window.addEventListener("beforeprint", () => {
  [...waiting].forEach(start);
  views.forEach((view) => view.markAll());
});
