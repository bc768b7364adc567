// Numbers, and several labels a row: what stands in the place of classes and their confusion.

/** What is judged, and how it is called. */
function kindOf(facts) {
  const labels = { what: "label", wrong: "are wrong", title: "Labels that look wrong", issue: "the suggestion is another class",
    data: counted(facts.classes.length, "class", "classes") };
  const kind = facts.targets?.kind;
  if (kind === "regression") {
    return { what: "target", wrong: "are wrong", title: "Targets that look wrong", data: "numbers",
      issue: "so far from what other samples predict that they are likelier wrong than right" };
  }
  if (kind !== "multilabel") return labels;
  return { what: "row", wrong: "have a wrong label", title: "Rows that look wrong", issue: "other labels are suggested",
    data: counted(facts.targets.names.length, "label") };
}

function targetsPanel(facts) {
  const { targets } = facts;
  if (!targets) return null;
  return targets.kind === "regression" ? numbersPanel(targets) : labelsPanel(targets);
}

function numbersPanel(targets) {
  if (!targets.points.length) return null;
  const wrong = targets.points.filter(([, , flagged]) => flagged).length;
  const label = `Given targets by what held-out samples predict; ${number.format(wrong)} of those drawn look wrong`;
  return panel("Given and predicted", make("p", { class: "muted" },
    `What looks wrong stands out. About ${percent(targets.hidden, 0)} of wrong targets would look right.`),
  scatter(label, targets.points, { x: "predicted", y: "given" }));
}

function labelsPanel(targets) {
  const order = [...targets.labels].sort((a, b) => b.added + b.removed - a.added - a.removed);
  const row = (one) => make("tr", {}, make("th", { scope: "row" }, clipped(one.name, 28)),
    make("td", {}, one.rate === null ? "cannot be judged" : bar(one.rate, percent(one.rate), "bad")),
    make("td", { class: "count" }, number.format(one.given)), make("td", { class: "count" }, number.format(one.added)),
    make("td", { class: "count" }, number.format(one.removed)));
  return panel("By label", make("p", { class: "muted" }, "How many rows have each label, and how many should get or lose it."),
    table("Noise and size of each label", ["label", "rows where it is wrong", "given", "to add", "to take away"], order, row));
}

/** What does not suit numbers and sets of labels is taken from the page. */
function suitTargets(facts) {
  if (!facts.targets) return;
  byId("confusion").hidden = true;
  document.querySelector('nav a[href="#confusion"]').hidden = true;
  for (const id of ["filter-given", "filter-suggested"]) byId(id).closest("label").hidden = true;
  document.querySelector('#sort option[value="pair"]').remove();
  const numbers = facts.targets.kind === "regression";
  byId("queue-title").textContent = numbers ? "Targets to check" : "Rows to check";
  byId("search").placeholder = numbers ? "name, number, text" : "name, label, text";
  byId("choose").firstChild.textContent = numbers ? "Another number " : "Other labels ";
  const asked = numbers ? "Type the number" : `Type the labels, "${plain(facts.targets.separator, 5)}" between them`;
  byId("chooser-title").textContent = asked;
  byId("chooser-text").setAttribute("aria-label", asked);
}

/** What somebody typed for a target: the text to keep, or what is wrong with it. */
function typedTarget(targets, text) {
  const words = text.trim();
  if (targets.kind === "regression") {
    const value = words.replace(",", ".");
    const fits = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) && Number.isFinite(Number(value));
    return fits ? { label: value } : { wrong: "Type a number." };
  }
  if (words === "(none)") return { label: words };
  const names = words.split(targets.separator).map((name) => name.trim()).filter((name) => name);
  const strange = names.find((name) => !targets.names.includes(name));
  if (!names.length) return { wrong: "Type labels, or (none)." };
  if (strange) return { wrong: `No such label: ${plain(strange, 40)}. There are: ${plain(targets.names.join(", "), 200)}` };
  return { label: [...new Set(names)].join(targets.separator) };
}
