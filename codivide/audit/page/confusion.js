// The heat map of given by suggested labels; a click shows the labels of that cell in the queue.

const MOST_CLASSES = 24;
const LEVELS = 6;

/** The classes of the map: all, or those with the most labels that look wrong, in their own order. */
function mapped(facts) {
  const count = facts.classes.length;
  const all = Array.from({ length: count }, (_, k) => k);
  if (count <= MOST_CLASSES) return all;
  const flagged = new Array(count).fill(0);
  for (const pair of facts.pairs) {
    flagged[pair.given] += pair.count;
    flagged[pair.suggested] += pair.count;
  }
  return all.sort((a, b) => flagged[b] - flagged[a]).slice(0, MOST_CLASSES).sort((a, b) => a - b);
}

/** One tab stop for the whole map; arrows move within it. */
function roving(grid) {
  const cells = [...grid.querySelectorAll("button")];
  const at = new Map(cells.map((cell) => [`${cell.dataset.line},${cell.dataset.column}`, cell]));
  cells.forEach((cell, k) => cell.setAttribute("tabindex", k === 0 ? "0" : "-1"));
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  grid.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    const from = event.target.closest("button");
    if (!move || !from) return;
    event.preventDefault();
    let [line, column] = [Number(from.dataset.line) + move[0], Number(from.dataset.column) + move[1]];
    if (line === column) [line, column] = [line + move[0], column + move[1]]; // the diagonal holds no button
    const to = at.get(`${line},${column}`);
    if (!to) return;
    from.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  });
}

function drawConfusion(facts, choose) {
  const classes = mapped(facts);
  const name = (k, most) => plain(facts.classes[k], most);
  const most = Math.max(1, ...classes.flatMap((g) => classes.map((s) => (g === s ? 0 : facts.confusion[g][s]))));
  const level = (count) => (count ? Math.max(1, Math.ceil(LEVELS * Math.sqrt(count / most))) : 0);
  const heading = (k, scope) => make("th", { scope, title: name(k, 300) }, make("span", {}, shown(facts.classes[k], 14)));
  const head = make("tr", {}, make("td", { class: "corner" }, "given \u2193 suggested \u2192"),
    ...classes.map((k) => heading(k, "col")));
  const body = classes.map((given, line) => make("tr", {}, heading(given, "row"), ...classes.map((suggested, column) => {
    const count = facts.confusion[given][suggested];
    if (given === suggested) return make("td", { class: "same" }, number.format(count));
    const label = `given ${name(given, 40)}, suggested ${name(suggested, 40)}: ${number.format(count)}`;
    const cell = make("button", { type: "button", class: `heat heat-${level(count)}`, "aria-label": label, title: label,
      "aria-pressed": "false", "data-line": line, "data-column": column }, count ? number.format(count) : "\u00b7");
    cell.addEventListener("click", () => choose(given, suggested));
    cell.dataset.pair = `${given},${suggested}`;
    return make("td", {}, cell);
  })));
  const caption = "Labels by given and suggested class. A cell shows its labels in the queue; arrow keys move.";
  const grid = make("table", { class: "heatmap" }, make("caption", { class: "muted" }, caption),
    make("thead", {}, head), make("tbody", {}, ...body));
  roving(grid);
  const pairs = make("ol", { class: "pairs" });
  const more = growing(pairs, facts.pairs, (pair) => {
    const button = make("button", { type: "button", "aria-pressed": "false", "data-pair": `${pair.given},${pair.suggested}` },
      make("span", {}, shown(facts.classes[pair.given], 24), " \u2192 ", shown(facts.classes[pair.suggested], 24)),
      make("span", { class: "count" }, number.format(pair.count)));
    button.addEventListener("click", () => choose(pair.given, pair.suggested));
    return make("li", {}, button);
  }, 10);
  const notes = facts.classes.length > classes.length
    ? make("p", { class: "muted" }, `The ${classes.length} of ${number.format(facts.classes.length)} classes with the ` +
      "most labels that look wrong.") : null;
  byId("confusion-body").append(
    make("div", { class: "panel" }, notes,
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Map of given and suggested labels" }, grid)),
    make("div", { class: "panel" }, make("h3", {}, "Most frequent"), facts.pairs.length ? pairs : "None.", more),
  );
}

/** Mark the cell and the line of the pair that the queue is filtered by. */
function markPair(given, suggested) {
  for (const button of document.querySelectorAll("[data-pair]")) {
    button.setAttribute("aria-pressed", String(button.dataset.pair === `${given},${suggested}`));
  }
}
