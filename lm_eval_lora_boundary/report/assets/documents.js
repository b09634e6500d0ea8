// The documents of one task.

const PAGE = 25;
const COLUMNS = 4;
const NOT_AVAILABLE = "–";

// The boundaries to write below the boxes: all if there are few, otherwise round ones and the last.
function labels(boundaries) {
  const last = boundaries.at(-1);
  if (boundaries.length <= 13) return new Set(boundaries);
  const step = [1, 2, 5, 10, 20, 50, 100].find((each) => last / each <= 5) ?? 200;
  const round = boundaries.filter((each) => each >= 0 && each % step === 0 && last - each > step / 2);
  return new Set([...round, last]);
}

// The name of a cut for a sentence, without what is said about it.
function plain(name) {
  const short = name.split(" · ")[0];
  return /^(base model|whole adapter)$/.test(short) ? `the ${short}` : short;
}

class Documents {
  constructor(host, content) {
    this.host = host;
    this.content = content;
    this.list = el("div");
    this.status = el("p", { className: "found", "aria-live": "polite" });
    this.controls = el("div", { className: "panel" });
    this.legend = el("p", { className: "legend" });
    this.previous = this.step("Previous", -1);
    this.place = el("span");
    this.next = this.step("Next", 1);
    this.pager = el("div", { className: "pager" }, this.previous, this.place, this.next);
    this.unmarked = new Map();
    this.near = new IntersectionObserver(
      (entries) => entries.filter((each) => each.isIntersecting).forEach((each) => this.mark(each.target)),
      { rootMargin: "400px" },
    );
    this.printNote = el("p", { className: "print-note" });
    this.host.replaceChildren(
      this.controls, this.status, this.legend, this.printNote, this.list, this.pager,
    );
    // the first split with something to read
    const places = content.sets.map((_, i) => i);
    this.choose(places.find((i) => this.hasFiltered(content.sets[i])) ?? 0);
  }

  // Whether a split has documents that pass its first filter.
  hasFiltered(set) {
    [this.set, this.focus, this.filter] = [set, set.focus, set.filter];
    return set.documents.some((doc) => this.passes(doc));
  }

  choose(position) {
    this.set = this.content.sets[position];
    this.position = position;
    this.columns = [...this.set.columns];
    while (this.columns.length < COLUMNS) this.columns.push(null);
    this.focus = this.set.focus;
    this.filter = this.set.filter;
    this.query = "";
    // where nothing differs, show all
    if (!this.hasFiltered(this.set)) this.filter = "all";
    this.drawControls();
    this.search();
  }

  // Whether a cut answers all documents as the reference does.
  allTheSame() {
    const { set, focus } = this;
    return (
      focus !== set.reference &&
      set.documents.every((doc) => this.answer(doc, focus)[0] === this.answer(doc, set.reference)[0])
    );
  }

  step(text, change) {
    const button = el("button", { type: "button" }, text);
    button.addEventListener("click", () => {
      this.page += change;
      this.draw();
      this.host.scrollIntoView();
    });
    return button;
  }

  select(label, options, value, change) {
    const node = el("select");
    for (const [text, each] of options) {
      node.append(el("option", { value: String(each), selected: each === value }, text));
    }
    node.addEventListener("change", () => change(options[node.selectedIndex][1]));
    return el("label", {}, label, node);
  }

  drawControls() {
    const set = this.set;
    const names = set.names.map((name, i) => [name, i]);
    const filters = [
      ["all documents", "all"],
      ["answers that differ", "changed"],
    ];
    if (set.binary) filters.push(["right → wrong", "worse"], ["wrong → right", "better"]);
    else if (set.comparable) filters.push(["got worse", "worse"], ["got better", "better"]);
    const filtering = el("div", { className: "controls" });
    if (this.content.sets.length > 1) {
      const sets = this.content.sets.map((each, i) => [each.name, i]);
      filtering.append(this.select("Split", sets, this.position, (i) => this.choose(i)));
    }
    const box = el("input", { type: "search", placeholder: "prompt, gold, answers" });
    let timer = 0;
    box.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        this.query = box.value;
        this.search();
      }, 150);
    });
    filtering.append(
      el("label", {}, "Search", box),
      this.select("Show", filters, this.filter, (value) => {
        this.filter = value;
        this.search();
      }),
      this.select(`Compare ${set.reference_name} with`, names, this.focus, (value) => {
        this.focus = value;
        this.search();
      }),
    );
    const columns = el("div", { className: "controls columns" });
    this.columns.forEach((column, i) => {
      const options = [["none", null], ...names];
      columns.append(
        this.select(`Column ${i + 1}`, options, column, (value) => {
          this.columns[i] = value;
          this.draw();
        }),
      );
    });
    this.controls.replaceChildren(filtering, columns);
    const swatch = (kind, text) => el("span", {}, el("i", { className: `cell ${kind}` }), text);
    this.legend.replaceChildren(
      `One box per boundary, ${minus(set.boundaries[0])} to ${minus(set.boundaries.at(-1))}:`,
      ...(set.binary
        ? [swatch("right", "right"), swatch("", "wrong")]
        : [swatch("same", `same answer as ${set.reference_name}`), swatch("", "different answer")]),
      "gaps where the answer changes",
    );
    this.legend.append(
      el("span", {}, el("ins", {}, "marked"), ` not in the answer of ${plain(set.reference_name)}`),
    );
    this.missing = el("span");
    this.legend.append(this.missing);
  }

  answer(doc, column) {
    return doc.answers[doc.which[column]];
  }

  passes(doc) {
    if (this.filter === "all") return true;
    const [text, value] = this.answer(doc, this.focus);
    const [wholeText, whole] = this.answer(doc, this.set.reference);
    if (this.filter === "changed") return text !== wholeText;
    const gain = (value - whole) * (this.content.higher ? 1 : -1);
    return this.filter === "better" ? gain > 0 : gain < 0;
  }

  matches(doc, pattern) {
    return (
      pattern.test(doc.prompt) ||
      pattern.test(doc.gold) ||
      doc.answers.some(([text, , read]) => pattern.test(text) || (read && pattern.test(read)))
    );
  }

  search() {
    let documents = this.set.documents.filter((doc) => this.passes(doc));
    const query = this.query.trim();
    if (query) {
      const pattern = new RegExp(query.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "iu");
      documents = documents.filter((doc) => this.matches(doc, pattern));
    }
    this.documents = documents;
    this.page = 0;
    this.draw();
  }

  draw() {
    const { documents, page, set } = this;
    const total = set.documents.length;
    const pages = Math.max(1, Math.ceil(documents.length / PAGE));
    const shown = documents.slice(page * PAGE, (page + 1) * PAGE);
    const plural = total === 1 ? "document" : "documents";
    this.status.textContent =
      documents.length === total
        ? `${total.toLocaleString("en")} ${plural}`
        : `${documents.length.toLocaleString("en")} of ${total.toLocaleString("en")} ${plural}`;
    if (this.allTheSame()) {
      this.status.textContent +=
        `. All answers of ${plain(set.names[this.focus])} are the same as those of ` +
        `${plain(set.reference_name)}.`;
    }
    const compares = this.columns.includes(this.focus) && this.focus !== set.reference;
    this.missing.hidden = !compares;
    this.missing.replaceChildren(el("del", {}, "marked"), ` not in the answer of ${plain(set.names[this.focus])}`);
    this.printNote.hidden = documents.length <= 5;
    this.printNote.textContent =
      `Only the first ${Math.min(5, shown.length)} of ${documents.length.toLocaleString("en")} ` +
      "documents are printed.";
    this.near.disconnect();
    this.unmarked.clear();
    this.list.replaceChildren(...shown.map((doc) => this.drawDocument(doc)));
    this.pager.hidden = pages === 1;
    this.place.textContent = `Page ${page + 1} of ${pages}`;
    this.previous.disabled = page === 0;
    this.next.disabled = page === pages - 1;
  }

  drawDocument(doc) {
    const { set } = this;
    const columns = [...new Set(this.columns.filter((each) => each !== null))];
    columns.sort((a, b) => a - b);
    return el(
      "article",
      { className: "document" },
      el("header", {}, el("h4", {}, `Document ${doc.id}`), el("p", {}, this.changes(doc))),
      this.drawStrip(doc, columns),
      this.drawGiven(doc),
      el(
        "div",
        { className: "answers" },
        ...columns.map((column) => this.drawAnswer(doc, column, set)),
      ),
    );
  }

  // Where the answer first changes, counting down from the reference.
  changes(doc) {
    const { set } = this;
    const whole = this.answer(doc, set.reference)[0];
    const distinct = new Set(set.boundaries.map((_, i) => this.answer(doc, i)[0])).size;
    for (let i = set.reference - 1; i >= 0; i--) {
      if (this.answer(doc, i)[0] !== whole) {
        const where = minus(set.boundaries[i]);
        return `answer first changes at boundary ${where} · ${distinct} distinct answers`;
      }
    }
    return "the same answer at every boundary";
  }

  drawStrip(doc, columns) {
    const { set } = this;
    const whole = this.answer(doc, set.reference)[0];
    const labelled = labels(set.boundaries);
    let right = 0;
    const cells = set.boundaries.map((boundary, i) => {
      const [text, value] = this.answer(doc, i);
      const kinds = ["cell"];
      if (set.binary && value === 1) {
        kinds.push("right");
        right++;
      }
      if (!set.binary && text === whole) kinds.push("same");
      if (i + 1 < set.boundaries.length && this.answer(doc, i + 1)[0] !== text) {
        kinds.push("changes");
      }
      if (columns.includes(i)) kinds.push("shown");
      const box = el("span", { className: kinds.join(" "), title: `${set.names[i]}: ${this.score(value)}` });
      if (labelled.has(boundary)) box.append(el("span", { className: "tick" }, minus(boundary)));
      return box;
    });
    const label = set.binary
      ? `right at ${right} of ${set.boundaries.length} boundaries`
      : this.changes(doc);
    return el("div", { className: "strip", role: "img", "aria-label": label }, ...cells);
  }

  drawGiven(doc) {
    const text = (content) => el("div", { className: "text", dir: "auto" }, content);
    const whole = this.set.prefix + doc.prompt;
    const end = whole.replace(/\s+/g, " ").trim();
    const short = end.length > 220 ? `… ${[...end.slice(-220)].slice(1).join("")}` : end;
    const details = el("details", {}, el("summary", { dir: "auto" }, short || "(empty)"));
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(text(whole));
    });
    return el(
      "div",
      { className: "given" },
      el("span", {}, "Prompt"),
      details,
      el("span", {}, "Gold"),
      text(doc.gold),
    );
  }

  drawAnswer(doc, column, set) {
    const [text, value, read] = this.answer(doc, column);
    const body = el("div", { className: "text", dir: "auto" });
    const reference = column === set.reference;
    // the reference is compared with one of the others, and they with it
    const other = reference ? this.focus : set.reference;
    if (text === "") body.append(el("span", { className: "empty" }, "(empty)"));
    else body.append(text);
    if (other !== column && this.columns.includes(other)) {
      this.unmarked.set(body, [this.answer(doc, other)[0], text, reference ? "del" : "ins"]);
      this.near.observe(body);
    }
    const score = el("span", { className: "score" }, this.score(value));
    if (set.binary && value === 1) score.classList.add("right");
    const box = el("div", {}, el("h5", {}, el("span", {}, set.names[column]), score), body);
    if (reference) box.className = "reference";
    if (read !== undefined) {
      const what = read === "" ? "nothing" : read;
      box.append(el("p", { className: "read", dir: "auto" }, `extracted: ${what}`));
    }
    return box;
  }

  markAll() {
    [...this.unmarked.keys()].forEach((body) => this.mark(body));
  }

  // Differences are computed when the answer scrolls near the viewport.
  mark(body) {
    const [from, to, tag] = this.unmarked.get(body);
    this.unmarked.delete(body);
    this.near.unobserve(body);
    if (from === to) return;
    // an answer shows its own words only: what the other says in addition is marked there
    body.replaceChildren(
      ...difference(from, to).map(([kind, part]) => (kind === "same" ? part : el(tag, {}, part))),
    );
  }

  score(value) {
    if (this.set.binary) return value === 1 ? "✓ right" : "✗ wrong";
    if (value === null) return NOT_AVAILABLE;
    return `${this.content.metric} ${minus(Number(value.toPrecision(3)))}`;
  }
}
