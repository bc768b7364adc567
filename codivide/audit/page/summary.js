// The summary: what the run says of the data as a whole.

const CURVES = [
  ["test_accuracy", "test accuracy"],
  ["given_agreement", "agrees with the given labels"],
  ["wrong_correct", "wrong labels: predicted as the truth"],
  ["wrong_memorised", "wrong labels: memorised"],
];
const FIRST = 12; // lines of a long list before "show more"

/** A titled box; nothing where there is nothing to show. */
function panel(title, ...content) {
  return make("section", { class: "panel" }, make("h3", {}, title), ...content);
}

function tile(title, value, detail, kind = null) {
  const note = detail instanceof Node ? detail : make("p", { class: "muted" }, detail);
  return make("div", { class: kind ? `tile ${kind}` : "tile" }, make("h3", {}, title),
    make("p", { class: "value" }, value), note);
}

/** A list that grows by a button: `draw(item)` makes one element. */
function growing(holder, items, draw, first = FIRST) {
  let done = 0;
  const more = make("button", { type: "button", class: "more-lines" });
  const grow = (count) => {
    holder.append(...items.slice(done, done + count).map(draw));
    done = Math.min(items.length, done + count);
    more.hidden = done === items.length;
    more.textContent = `Show more (${number.format(items.length - done)})`;
  };
  more.addEventListener("click", () => grow(100));
  grow(first);
  return more;
}

/** A table whose rows grow by a button. */
function table(caption, headings, items, draw, first = FIRST) {
  const body = make("tbody");
  const more = growing(body, items, draw, first);
  const head = make("tr", {}, ...headings.map((text) => make("th", { scope: "col" }, text)));
  const whole = make("table", {}, make("caption", { class: "unseen" }, caption), make("thead", {}, head), body);
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, whole, more);
}

/** A share as a bar with its number; the bar is decoration. */
function bar(share, text, kind = "") {
  const fill = make("span", { class: `fill ${kind}`, "aria-hidden": "true" });
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("span", { class: "meter" }, make("span", { class: "track", "aria-hidden": "true" }, fill), text);
}

function interval(noise, kind) {
  const scale = make("div", { class: "interval", "aria-hidden": "true" });
  const range = make("span", { class: "interval-range" });
  range.style.left = `${100 * noise.low}%`;
  range.style.width = `${Math.max(0.5, 100 * (noise.high - noise.low))}%`;
  const point = make("span", { class: "interval-point" });
  point.style.left = `${100 * noise.rate}%`;
  scale.append(range, point);
  return make("div", {}, scale, make("p", { class: "muted" },
    `of the ${kind.what}s ${kind.wrong}, between ${percent(noise.low)} and ${percent(noise.high)}` +
    (noise.low === 0 && noise.trust.level !== "poor" ? ", perhaps none" : "") +
    (kind.what === "label" ? `; kind of noise: ${plain(noise.kind, 20)}` : "")));
}

function drawTiles(facts, trust) {
  const kind = kindOf(facts);
  const words = { good: "Good", fair: "Fair", poor: "Poor" };
  const reasons = make("ul", { class: "reasons muted" }, ...trust.reasons.map((text) => make("li", {}, sentence(text, 200))));
  const samples = counted(facts.samples, "sample") +
    (facts.unlabelled ? `, ${number.format(facts.unlabelled)} of them without a label` : "");
  byId("tiles").append(
    tile("Estimated noise", percent(facts.noise.rate), interval(facts.noise, kind)),
    tile(kind.title, number.format(facts.issues_total),
      `${percent(facts.issues_total / Math.max(1, facts.labelled))} of ${counted(facts.labelled, kind.what)}: ${kind.issue}`),
    tile("How far to trust this", words[trust.level] || plain(trust.level, 20),
      trust.reasons.length ? reasons : "none of the checks speaks against it", `trust-${words[trust.level] ? trust.level : "poor"}`),
    tile("Data", kind.data, samples),
  );
}

function classesPanel(facts) {
  if (facts.targets) return null;
  const { counts, suggested_counts: suggested, ratio } = facts.imbalance;
  const rates = new Map(facts.noise.per_class.map((item) => [item.class, item.rate]));
  const order = facts.classes.map((_, k) => k).sort((a, b) => (rates.get(b) ?? -1) - (rates.get(a) ?? -1));
  const rows = (k) => {
    const rate = rates.get(k) ?? null;
    return make("tr", {}, make("th", { scope: "row" }, clipped(facts.classes[k], 28)),
      make("td", {}, rate === null ? "too few" : bar(rate, percent(rate), "bad")),
      make("td", { class: "count" }, number.format(counts[k])), make("td", { class: "count" }, number.format(suggested[k])));
  };
  const size = ratio > 1 ? `The largest class has ${short(ratio)} times the labels of the smallest.`
    : "All classes have the same number of labels.";
  return panel("By class", make("p", { class: "muted" }, size), table("Noise and size of each class",
    ["class", "labels that are wrong", "given", "suggested"], order, rows));
}

/** What is wrong with the data as a whole. */
function findingsPanel(facts) {
  if (!facts.findings.length) return null;
  return panel("The data as a whole", make("dl", { class: "findings" }, ...facts.findings.map(({ title, text }) =>
    make("div", {}, make("dt", {}, plain(title, 60)), make("dd", {}, sentence(text, 400))))));
}

function choicesPanel(facts) {
  if (!(facts.choices || []).length) return null;
  return panel("Why this method and these settings",
    make("ul", {}, ...facts.choices.map((text) => make("li", {}, sentence(text, 400)))));
}

function curvesPanel(facts) {
  const epochs = facts.curves.filter((row) => !row.round);  // a round is another model, and no later epoch of one
  const series = (key, name) => ({
    name, points: epochs.filter((row) => Number.isFinite(row[key])).map((row) => [row.epoch, row[key]]),
  });
  const shares = CURVES.map(([key, name]) => series(key, name)).filter((one) => one.points.length > 1);
  const loss = series("loss", "loss");
  const drawn = shares.length || loss.points.length > 1;  // one point is no curve
  const last = facts.curves.filter((row) => Number.isFinite(row.test_accuracy)).at(-1);
  const scores = last && [["accuracy", "test_accuracy"], ["balanced accuracy", "test_balanced_accuracy"],
    ["macro F1", "test_macro_f1"]].filter(([, key]) => Number.isFinite(last[key]))
    .map(([name, key]) => `${name} ${percent(last[key])}`).join(", ");
  if (!drawn && !scores) return null;
  return panel(drawn ? "While it learned" : "The classifier",
    scores ? make("p", {}, `Test part at the end: ${scores}.`) : null,
    shares.length ? lineChart(`Over the epochs: ${shares.map((one) => one.name).join(", ")}`, shares,
      { x: "epoch", y: "share" }, [0, 1]) : null,
    loss.points.length > 1 ? lineChart("Training loss over the epochs", [loss], { x: "epoch", y: "training loss" }) : null);
}

function duplicatesPanel(facts) {
  if (!facts.duplicates.length) return null;
  const conflicting = facts.duplicates.filter((group) => new Set(group.labels).size > 1).length;
  const draw = (group) => {
    const conflict = new Set(group.labels).size > 1;
    const members = make("ul", { class: "plain" }, ...group.ids.slice(0, 20).map((id, k) => make("li", {},
      clipped(id, 48), " ", group.labels[k] >= 0 ? make("b", {}, clipped(facts.classes[group.labels[k]], 24)) : "no label")));
    if (group.ids.length > 20) members.append(make("li", {}, `and ${number.format(group.ids.length - 20)} more`));
    return make("tr", {}, make("td", {}, members), make("td", {}, group.exact ? "exact" : "near"),
      make("td", {}, conflict ? make("span", { class: "flag" }, "labels differ") : "same label"));
  };
  return panel("Duplicates",
    make("p", { class: "muted" }, `${counted(facts.duplicates.length, "group")}, ${number.format(conflicting)} with ` +
      "labels that differ."),
    table("Groups of duplicates", ["samples and labels", "match", "labels"], facts.duplicates, draw, 6));
}

/** The test part, judged by the model of the training part, and what both share. */
function testPanel(facts) {
  const test = facts.test;
  if (!test) return null;
  const label = (text) => (text === null ? "no label" : clipped(text, 24));
  const cell = (...parts) => make("td", {}, ...parts);
  const draw = (item) => make("tr", {}, cell(clipped(item.id, 48)), cell(label(item.given)), cell(label(item.suggested)),
    make("td", { class: "count" }, item.clean_prob === null ? "" : short(item.clean_prob)),
    cell(item.leaked ? make("span", { class: "flag" }, "leaked") : ""));
  const drawLeak = (item) => make("tr", {}, cell(clipped(item.id, 48)), cell(label(item.given)),
    cell(item.twin === null ? "" : clipped(item.twin, 48)));
  return panel("Test part",
    make("p", { class: "muted" }, `${counted(test.samples, "sample")}: ${counted(test.issues_total, "label")} of ` +
      `${number.format(test.labelled)} look wrong to the model of the training part; ${counted(test.leaked, "sample")} ` +
      `are the same as ${counted(test.leaked_training_samples, "sample")} of the training part, exactly or nearly. ` +
      "labels_test.csv lists all of them."),
    test.issues.length ? table("Labels of the test part that look wrong",
      ["sample", "given", "suggested", "p(clean)", ""], test.issues, draw, 6) : null,
    test.leaks.length ? table("Test samples that are in the training part",
      ["test sample", "given", "training sample"], test.leaks, drawLeak, 6) : null);
}

/** A panel of the samples of a kind of issue; nothing where there are none. */
function samplesPanel(facts, { name, title, said, samples }) {
  if (!samples.length) return null;
  const labelled = samples.filter((sample) => sample.given >= 0).length;
  const review = labelled ? make("button", { type: "button", class: "more-lines", "data-kind": name },
    `Check ${labelled === 1 ? "it" : `these ${number.format(labelled)}`} in the queue`) : null;
  const list = make("ul", { class: "gallery" });
  const more = growing(list, samples, (item) => {
    const image = picture(item.thumbnail, "");
    const text = item.text === null || item.text === undefined ? null : make("p", {}, clipped(item.text, 120, true));
    const score = Number.isFinite(item.score) ? `, score ${short(item.score)}` : "";
    return make("li", {}, image, text, make("p", {}, clipped(item.id, 32, false, ending)),
      make("p", { class: "muted" }, item.given >= 0 ? shown(facts.classes[item.given], 24) : "no label", score));
  });
  return panel(title, make("p", { class: "muted" }, said), list, make("div", { class: "row" }, review, more));
}

function outliersPanel(facts) {
  return samplesPanel(facts, { name: "outliers", title: "Outliers", samples: facts.outliers,
    said: "Samples that may fit no class, the farthest first." });
}

/** The kinds of issues for which the page has no panel of its own. */
function checkPanels(facts) {
  const boxes = document.createDocumentFragment();
  for (const { name, title, text, found, samples } of facts.checks) {
    const said = `${plain(text, 200)} ${counted(found, "sample")}.`;
    const box = samplesPanel(facts, { name, title: clipped(title, 60), said, samples });
    if (box) boxes.append(box);
  }
  return boxes;
}

function annotatorsPanel(facts) {
  if (!facts.annotators?.length) return null;
  const judged = (one) => one.quality !== null && one.quality !== undefined;
  const order = [...facts.annotators].sort((a, b) => (judged(a) ? a.quality : 2) - (judged(b) ? b.quality : 2));
  const copies = (one) => (one.copies?.length ? `counts once with ${plain(one.copies.join(", "), 60)}` : "");
  return panel("Annotators", table("Quality of the annotators", ["annotator", "labels", "estimated quality", ""], order,
    (one) => make("tr", {}, make("th", { scope: "row" }, clipped(one.name, 32)),
      make("td", { class: "count" }, number.format(one.labels)),
      make("td", {}, judged(one) ? bar(one.quality, percent(one.quality)) : "0 answers"), make("td", {}, copies(one)))));
}

function columnsPanel(facts) {
  if (!facts.columns?.length) return null;
  const said = (item) => item.kind === null ? `not used: ${item.reason}`
    : `${item.kind}, ${counted(item.features, "feature")}` + (item.empty ? `, ${counted(item.empty, "empty cell")}` : "")
      + (item.note ? `; ${item.note}` : "");
  const unused = facts.columns.filter((item) => item.kind === null).length;
  return panel("Columns", make("p", { class: "muted" }, unused ? `${counted(unused, "column")} not used.` : "All are used."),
    table("What was made of each column", ["column", "read as"], facts.columns,
      (item) => make("tr", {}, make("th", { scope: "row" }, clipped(item.name, 40)), make("td", {}, sentence(said(item), 160))), 10));
}

function skippedPanel(facts) {
  if (!facts.skipped.length) return null;
  return panel("Skipped", make("p", { class: "muted" }, `${counted(facts.skipped.length, "file")} could not be read.`),
    table("Files that could not be read", ["file", "reason"], facts.skipped,
      (item) => make("tr", {}, make("td", {}, clipped(item.path, 60)), make("td", {}, clipped(item.reason, 120))), 6));
}

function drawHead(facts) {
  byId("name").replaceChildren("Label audit: ", clipped(facts.name, 48));
  document.title = `Label audit: ${plain(facts.name, 60)}`;
  byId("about").textContent = `method ${plain(facts.method, 40)}, ${plain(facts.created.slice(0, 10))}`;
  byId("foot").textContent = `Made by codivide ${plain(facts.version, 20)}. This page sends nothing anywhere.`;
  drawTiles(facts, facts.noise.trust);
}

function lossesPanel(facts) {
  if (!facts.losses?.counts.length) return null;
  return panel("Losses", make("p", { class: "muted" },
    "Labels that a classifier cannot learn from the others keep a large loss."), lossChart(facts.losses));
}

/** What makes the boxes of the summary, in their order. */
const PANELS = [
  findingsPanel, targetsPanel, classesPanel, lossesPanel, curvesPanel, choicesPanel, testPanel, duplicatesPanel, outliersPanel, checkPanels,
  annotatorsPanel, columnsPanel, skippedPanel,
];
