// The dialogs that decide: the class of one label, and the suggestions of many.

const LONGEST_CLASS = 100; // characters of the name of a new class

/** The dialog that finds a class by typing, or takes a new one. */
class Chooser {
  constructor(queue, chosen) {
    this.queue = queue;
    this.chosen = chosen;
    this.text = byId("chooser-text");
    this.list = byId("chooser-list");
    this.options = []; // labels
    this.at = 0;
    this.text.addEventListener("input", () => this.search());
    this.text.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[data-place]");
      if (option) this.taken(this.options[Number(option.dataset.place)]);
    });
  }

  open() {
    this.text.value = "";
    this.search();
    byId("chooser").showModal();
    this.text.focus();
  }

  /** Classes that begin with what was typed, then those that have it inside, then what was typed as a new one. */
  search() {
    const { targets } = this.queue; // numbers or sets of labels, which are typed
    if (targets) {
      const said = this.text.value.trim() ? typedTarget(targets, this.text.value) : {};
      byId("chooser-more").textContent = said.wrong || (said.label ? `Enter: ${said.label}` : "");
      return;
    }
    const words = this.text.value.trim().toLowerCase();
    const all = this.queue.names.map((name) => [name.toLowerCase().indexOf(words), name]).filter(([where]) => where >= 0);
    const found = all.map(([where, name], k) => [where > 0, k, name]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const fresh = this.queue.newClass(this.text.value);
    this.options = found.slice(0, 50).map(([, , name]) => name).concat(fresh === null ? [] : [fresh]);
    this.at = 0;
    this.list.replaceChildren(...this.options.map((name, place) => make("div", { role: "option", id: `class-${place}`,
      "data-place": place, "aria-selected": "false" }, name === fresh ? "New class: " : null, shown(name, 60))));
    byId("chooser-more").textContent = all.length > 50 ? `${number.format(all.length - 50)} more; type to find them`
      : fresh !== null ? "A new class: fit and clean take it with --new-classes." : all.length ? "" : this.queue.newClasses
      ? "No class has this in its name." : "No class has this in its name; codivide serve --new-classes lets you add one.";
    this.mark();
  }

  mark() {
    [...this.list.children].forEach((option, place) => option.setAttribute("aria-selected", String(place === this.at)));
    if (!this.options.length) {
      this.text.removeAttribute("aria-activedescendant");
      return;
    }
    this.text.setAttribute("aria-activedescendant", `class-${this.at}`);
    this.list.children[this.at].scrollIntoView({ block: "nearest" });
  }

  key(event) {
    if (event.isComposing) return;
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move && this.options.length) {
      event.preventDefault();
      this.at = (this.at + move + this.options.length) % this.options.length;
      this.mark();
    } else if (event.key === "Enter") {
      const { targets } = this.queue;
      const label = targets ? typedTarget(targets, this.text.value).label : this.options[this.at];
      if (label === undefined && !targets) return;
      event.preventDefault();
      if (label !== undefined) this.taken(label);
    }
  }

  taken(label) {
    this.text.blur(); // else the next key, if it comes at once, is still taken for typing
    byId("chooser").close();
    this.chosen(label);
  }
}

/** A number from 0 to 1 with a point or a comma; NaN for anything else: a limit that was misread would accept all. */
function typedShare(text) {
  const words = text.trim().replace(",", ".");
  const value = /^(\d+\.?\d*|\.\d+)$/.test(words) ? Number(words) : NaN;
  return value <= 1 ? value : NaN;
}

/** The dialog that accepts the suggestions of many labels of the view: those not checked yet that are doubtful enough. */
class Many {
  constructor(queue, accept) {
    this.queue = queue;
    this.accept = accept; // takes positions
    this.below = byId("many-below");
    this.below.addEventListener("input", () => this.count());
    this.below.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      this.take();
    });
    byId("many-accept").addEventListener("click", () => this.take());
  }

  open() {
    this.count();
    byId("many").showModal();
    this.below.select();
  }

  /** Say how many there are, and how many of the suggestions are right by what the run knows. */
  count() {
    const { queue } = this;
    const { given, suggested, search } = queue.filter;
    const asked = [given >= 0 && `given ${plain(queue.classes[given], 40)}`,
      suggested >= 0 && `suggested ${plain(queue.classes[suggested], 40)}`, search && `with \u201c${plain(search, 40)}\u201d`];
    const which = asked.filter(Boolean).join(", ");
    const limit = typedShare(this.below.value);
    this.found = queue.doubtful(limit);
    byId("many-which").textContent = Number.isNaN(limit) ? "Type a number from 0 to 1, such as 0.05." : `Of the ${counted(queue.view.length, "label")} shown${which ? ` (${which})` : ""}, ` +
      `${number.format(this.found.length)} are not checked yet and are that doubtful.`;
    const sure = this.found.map((position) => queue.index.sure[position]).filter((value) => value !== null);
    const right = sure.reduce((sum, value) => sum + value, 0) / Math.max(1, sure.length);
    byId("many-sure").textContent = sure.length && !queue.targets
      ? `By the run's own probabilities about ${percent(right, 0)} of these suggestions are right. Look at some of them first.` : "";
    byId("many-accept").textContent = `Accept ${counted(this.found.length, "suggestion")}`;
    byId("many-accept").disabled = !this.found.length;
  }

  take() {
    if (!this.found.length) return;
    this.below.blur();
    byId("many").close();
    this.accept(this.found);
  }
}
