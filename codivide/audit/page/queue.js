// The labels to check, what was decided of them, and which of them are in view. No drawing here.

/**
 * The samples of other kinds of issues, at the end of the index where they are no labels that look wrong: their details,
 * and for each kind its positions, the clearest first. A sample without a label has nothing to decide.
 */
function gathered(index, facts) {
  const labels = index.row.length;
  index.id.length = index.words.length = labels; // those that are not there yet lie in files beside the page
  const kinds = [{ name: "issues", title: "labels that look wrong", positions: index.row.map((_, position) => position) }];
  const places = new Map(index.row.map((row, position) => [row, position]));
  const others = [];
  for (const { name, title, samples } of [{ name: "outliers", title: "Outliers", samples: facts.outliers }, ...facts.checks]) {
    const labelled = samples.filter((sample) => sample.given >= 0);
    for (const sample of labelled) {
      if (places.has(sample.row)) continue;
      places.set(sample.row, index.row.length);
      const words = sample.text ?? (sample.fields || []).map(([field, value]) => `${field} ${value}`).join(", ");
      const added = { row: sample.row, id: sample.id, given: sample.given, suggested: sample.suggested,
        clean: sample.clean_prob, sure: sample.suggested_prob, words: words.slice(0, 300) };
      for (const [column, value] of Object.entries(added)) index[column].push(value);
      others.push(sample);
    }
    if (labelled.length) kinds.push({ name, title, positions: labelled.map((sample) => places.get(sample.row)) });
  }
  return { labels, kinds, others };
}

class Queue {
  constructor(classes, index, { labels, kinds }, targets = null) {
    this.classes = classes;
    this.targets = targets; // numbers or sets of labels; null: classes
    this.newClasses = false; // whether a decision may name a class that is new
    this.index = index; // columns: row, id, given, suggested, clean, sure, words
    this.labels = labels; // those that look wrong come first in the index
    this.kinds = new Map(kinds.map((kind) => [kind.name, kind]));
    this.decisions = new Map(); // position -> {decision, label, time}
    this.history = []; // {position, before, step}, the last decision at the end; of many made at once step is the same
    this.filter = { kind: "issues", given: -1, suggested: -1, status: "all", search: "", sort: "rank" };
    this.hopeful = this.kinds.get("issues").positions.reduce((sum, position) => sum + this.doubt(position), 0); // wrong labels left
    this.view = [];
    this.at = 0; // place in the view
    this.refresh();
  }

  /** The positions of the kind that is looked at. */
  get scope() {
    return this.kinds.get(this.filter.kind).positions;
  }

  /** The kind after the one that is looked at. */
  get nextKind() {
    const names = [...this.kinds.keys()];
    return names[(names.indexOf(this.filter.kind) + 1) % names.length];
  }

  /** The other kinds of issues that a sample has, by their titles. */
  found(position) {
    const others = [...this.kinds.values()].filter(({ name }) => name !== "issues");
    return others.filter(({ positions }) => positions.includes(position)).map(({ title }) => title);
  }

  /** Probability that a given label is wrong; one half where the run does not say. */
  doubt(position) {
    return 1 - (this.index.clean[position] ?? 0.5);
  }

  /** Position of the current label, or -1 where the view is empty. */
  get current() {
    return this.view.length ? this.view[this.at] : -1;
  }

  /** Names of the classes, and behind them those that decisions added. */
  get names() {
    return [...new Set([...this.classes, ...[...this.decisions.values()].map(({ label }) => label).filter(Boolean)])];
  }

  /** A text as the name of a new class; null where it can be none: it is one that is there but for case, or unfit. */
  newClass(text) {
    const name = String(text).trim().replace(/ +/g, " ");
    const fits = name && Array.from(name).length <= LONGEST_CLASS && name.search(CONTROLS) < 0;
    if (!fits || !this.newClasses || this.targets) return null;
    const same = (known) => known.toLowerCase() === name.toLowerCase();
    return this.names.some(same) ? null : name;
  }

  /** Whether a decision may name this label. */
  allows(label, decision) {
    if (!this.targets) {
      return this.classes.includes(label) || (decision === "relabel" && typeof label === "string" &&
        (this.names.includes(label) || this.newClass(label) === label));
    }
    return this.classes.includes(label) || (typeof label === "string" && typedTarget(this.targets, label).label === label);
  }

  /** What a sample is called; its row, as long as its name has not been read. */
  name(position) {
    return this.index.id[position] ?? `row ${this.index.row[position]}`;
  }

  /** Whether filter and order need the names of all. */
  get byName() {
    return Boolean(this.filter.search) || this.filter.sort === "id";
  }

  given(position) {
    return this.classes[this.index.given[position]];
  }

  suggested(position) {
    return this.classes[this.index.suggested[position]];
  }

  matches(position) {
    const { given, suggested, status, search } = this.filter;
    if (given >= 0 && this.index.given[position] !== given) return false;
    if (suggested >= 0 && this.index.suggested[position] !== suggested) return false;
    const decided = this.decisions.get(position)?.decision;
    if (status !== "all" && (status === "open" ? decided : decided !== status)) return false;
    if (!search) return true;
    const has = (text) => text.toLowerCase().includes(search);
    return has(this.name(position)) || has(this.given(position)) || has(this.suggested(position)) ||
      has(this.index.words[position] || "");
  }

  /** Filter and sort anew; the current label stays the current one where it is still in view. */
  refresh() {
    const before = this.current;
    const { index } = this;
    const view = this.scope.filter((position) => this.matches(position));
    const orders = {
      sure: (a, b) => (index.sure[b] ?? -1) - (index.sure[a] ?? -1) || a - b,
      pair: (a, b) => index.given[a] - index.given[b] || index.suggested[a] - index.suggested[b] || a - b,
      id: (a, b) => (this.name(a) < this.name(b) ? -1 : this.name(a) > this.name(b) ? 1 : a - b),
    };
    if (orders[this.filter.sort]) view.sort(orders[this.filter.sort]);
    this.view = view;
    const place = view.indexOf(before);
    this.at = place >= 0 ? place : Math.min(this.at, Math.max(0, view.length - 1));
  }

  /** Set or take away a decision without remembering how to undo it. */
  put(position, decision) {
    const doubt = position < this.labels ? this.doubt(position) : 0;
    if (this.decisions.has(position)) this.hopeful += doubt;
    if (decision) {
      this.decisions.set(position, decision);
      this.hopeful -= doubt;
    } else {
      this.decisions.delete(position);
    }
  }

  /** Decide on the current label; gives the position. */
  decide(decision, label) {
    const position = this.current;
    this.history.push({ position, before: this.decisions.get(position) || null });
    this.put(position, { decision, label, time: now() });
    return position;
  }

  /** Positions of the view that are not checked, have a suggestion, and a probability of being right below a limit. */
  doubtful(below) {
    return this.view.filter((position) => !this.decisions.has(position) &&
      this.index.suggested[position] !== this.index.given[position] && 1 - this.doubt(position) < below);
  }

  /** Accept the suggestions of many labels as one step of the history. */
  acceptAll(positions) {
    const step = {};
    for (const position of positions) {
      this.history.push({ position, before: this.decisions.get(position) || null, step });
      this.put(position, { decision: "accept", label: this.suggested(position), time: now() });
    }
  }

  /** Take the last decision back, or the many that were one step; gives their positions, the last one first. */
  undo() {
    const positions = [];
    const { step } = this.history.at(-1) || {};
    do {
      const last = this.history.pop();
      if (!last) break;
      this.put(last.position, last.before);
      positions.push(last.position);
    } while (step && this.history.at(-1)?.step === step);
    return positions;
  }

  /** Decisions that were kept from before: later ones can be undone first. */
  restore(pairs) {
    for (const [position, value] of pairs) {
      const decision = sound(value, this);
      if (decision) this.put(position, decision);
    }
    const kept = [...this.decisions].sort(([, a], [, b]) => (a.time < b.time ? -1 : Number(a.time > b.time)));
    this.history = kept.map(([position]) => ({ position, before: null }));
    const open = this.view.findIndex((position) => !this.decisions.has(position));
    this.at = Math.max(0, open);
    this.refresh();
  }

  /** Place in the view of the next label without a decision, after the current one first; -1 where all are decided. */
  nextOpen() {
    const count = this.view.length;
    for (let step = 0; step < count; step += 1) {
      const place = (this.at + step) % count;
      if (!this.decisions.has(this.view[place])) return place;
    }
    return -1;
  }

  /** corrections.csv in the order of the queue. */
  corrections() {
    const lines = [["id", "given", "decision", "label", "time"]];
    for (const position of [...this.decisions.keys()].sort((a, b) => a - b)) {
      const { decision, label, time } = this.decisions.get(position);
      lines.push([this.name(position), this.given(position), decision, label, time]);
    }
    return csv(lines);
  }
}

/** What a decision is called beside its label. */
function verdict(decision) {
  if (!decision) return "not checked";
  if (decision.decision === "junk") return "junk";
  const words = { accept: "accepted", keep: "kept", relabel: "another class" };
  return `${words[decision.decision]}: ${plain(decision.label, 24)}`;
}
