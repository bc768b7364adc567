// The labels to check, what was decided of them, and which of them are in view. No drawing here.

class Queue {
  constructor(classes, index) {
    this.classes = classes;
    this.index = index; // columns: row, id, given, suggested, clean, sure, words
    this.decisions = new Map(); // position -> {decision, label, time}
    this.history = []; // {position, before}, the last decision at the end
    this.filter = { given: -1, suggested: -1, status: "all", search: "", sort: "rank" };
    this.hopeful = index.clean.reduce((sum, _, position) => sum + this.doubt(position), 0); // wrong labels still to be found
    this.view = [];
    this.at = 0; // place in the view
    this.refresh();
  }

  get size() {
    return this.index.row.length;
  }

  /** Probability that a given label is wrong; one half where the run does not say. */
  doubt(position) {
    return 1 - (this.index.clean[position] ?? 0.5);
  }

  /** Position of the current label, or -1 where the view is empty. */
  get current() {
    return this.view.length ? this.view[this.at] : -1;
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
    return has(this.index.id[position]) || has(this.given(position)) || has(this.suggested(position)) ||
      has(this.index.words[position] || "");
  }

  /** Filter and sort anew; the current label stays the current one where it is still in view. */
  refresh() {
    const before = this.current;
    const { index } = this;
    const view = [];
    for (let position = 0; position < this.size; position += 1) if (this.matches(position)) view.push(position);
    const orders = {
      sure: (a, b) => (index.sure[b] ?? -1) - (index.sure[a] ?? -1) || a - b,
      pair: (a, b) => index.given[a] - index.given[b] || index.suggested[a] - index.suggested[b] || a - b,
      id: (a, b) => (index.id[a] < index.id[b] ? -1 : index.id[a] > index.id[b] ? 1 : a - b),
    };
    if (orders[this.filter.sort]) view.sort(orders[this.filter.sort]);
    this.view = view;
    const place = view.indexOf(before);
    this.at = place >= 0 ? place : Math.min(this.at, Math.max(0, view.length - 1));
  }

  /** Set or take away a decision without remembering how to undo it. */
  put(position, decision) {
    const doubt = this.doubt(position);
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

  /** Take the last decision back; gives its position, or -1 where there is none. */
  undo() {
    const last = this.history.pop();
    if (!last) return -1;
    this.put(last.position, last.before);
    return last.position;
  }

  /** Decisions that were kept from before: later ones can be undone first. */
  restore(pairs) {
    for (const [position, value] of pairs) {
      const decision = sound(value, this.classes);
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
      lines.push([this.index.id[position], this.given(position), decision, label, time]);
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
