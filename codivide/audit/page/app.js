// What the keys and buttons do.

const SCROLLED = "The card is in view now. Press the key again to decide.";

class App {
  constructor(config, facts, index) {
    this.facts = facts;
    const all = gathered(index, facts);
    this.blocks = new Blocks(config, all, index);
    this.queue = new Queue(facts.classes, index, all, facts.targets);
    this.queue.newClasses = config.new_classes;
    this.list = new List(this.queue, this.blocks, (place) => this.go(place));
    this.card = new Card(this.queue, this.blocks, config.token !== null);
    this.storage = config.token === null ? new LocalDecisions(config.fingerprint, this.queue)
      : new RemoteDecisions(config, this.queue, () => this.progress());
    this.keys = {
      a: () => this.decide("accept"), k: () => this.decide("keep"), j: () => this.decide("junk"), c: () => this.choose(),
      b: () => this.many.open(),
      u: () => this.undo(), n: () => this.step(1), p: () => this.step(-1),
      ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1),
      "+": () => this.card.scale(1.25), "-": () => this.card.scale(0.8), z: () => this.card.enlarge(),
      v: () => this.look(this.queue.nextKind),
      "/": () => byId("search").focus(), "?": () => byId("help").showModal(),
    };
  }

  async start() {
    try {
      const saved = await this.storage.load();
      this.queue.restore(saved);
      for (const [position, value] of this.storage.left(saved)) this.changed(position, value);
    } catch (error) {
      warn(`The decisions made so far cannot be read from the server (${error.message}). Reload the page.`);
    }
    this.storage.watch((position, value) => this.changed(position, value));
    this.controls(); // not before: the queue begins where earlier decisions end
    if (this.facts.issues_total > this.queue.labels) {
      const left = number.format(this.facts.issues_total - this.queue.labels);
      byId("nothing").dataset.left = `${left} more labels look wrong and are not in this page.`;
    }
    await this.show();
  }

  /** Draw the queue as it is now. */
  show() {
    this.list.reveal();
    this.progress();
    return this.card.draw();
  }

  progress() {
    const { queue } = this;
    const { pending } = this.storage;
    const { scope } = queue;
    const labels = queue.filter.kind === "issues";
    const done = Math.max(0, scope.filter((position) => queue.decisions.has(position)).length - pending);
    byId("progress").max = Math.max(1, scope.length);
    byId("progress").value = done;
    const hope = Math.round(Math.max(0, queue.hopeful));
    const missing = byId("nothing").dataset.left;
    byId("progress-text").textContent = `${number.format(done)} of ${number.format(scope.length)} checked` +
      `${pending ? `, ${number.format(pending)} not saved yet` : ""}` + (labels
      ? `; of the rest, about ${number.format(hope)} are worth checking.${missing ? ` ${missing}` : ""}` : ".");
    byId("undo").disabled = !queue.history.length;
    byId("found").textContent = `${number.format(queue.view.length)} shown`;
    const { given, suggested, status, search } = queue.filter;
    byId("clear").hidden = given < 0 && suggested < 0 && status === "all" && !search;
    byId("nothing").textContent = scope.length ? "No label matches the filters." : "No label looks wrong.";
  }

  go(place) {
    this.queue.at = place;
    this.list.reveal();
    return this.card.draw();
  }

  step(by) {
    const place = this.queue.at + by;
    if (place < 0 || place >= this.queue.view.length) return;
    this.go(place);
    const position = this.queue.current;
    announce(`${place + 1}: given ${plain(this.queue.given(position), 40)}, suggested ` +
      plain(this.queue.suggested(position), 40));
  }

  /** Decide on the current label and go to the next open one. */
  decide(decision, label = null) {
    const { queue } = this;
    const position = queue.current;
    if (position < 0 || !this.inView()) return;
    const labels = { accept: queue.suggested(position), keep: queue.given(position), junk: "" };
    const kind = decision === "accept" && labels.accept === labels.keep ? "keep" : decision;
    queue.decide(kind, label ?? labels[kind]);
    const made = queue.decisions.get(position);
    this.storage.save(position, made);
    const open = queue.nextOpen();
    queue.at = open >= 0 ? open : Math.min(queue.at + 1, queue.view.length - 1);
    if (queue.filter.status !== "all") queue.refresh();
    this.show();
    announce(`${verdict(made)}. ${open >= 0 ? "" : "All labels shown are checked."}`);
  }

  /** Accept the suggestions of many labels; one undo takes all of them back. */
  acceptAll(positions) {
    const { queue } = this;
    queue.acceptAll(positions);
    for (const position of positions) this.storage.save(position, queue.decisions.get(position));
    queue.refresh();
    queue.at = Math.max(0, queue.nextOpen());
    this.show();
    announce(`${counted(positions.length, "suggestion")} accepted. Undo takes ${positions.length === 1 ? "it" : "all of them"} back.`);
  }

  undo() {
    const { queue } = this;
    const positions = queue.undo();
    if (!positions.length) return;
    for (const position of positions) this.storage.save(position, queue.decisions.get(position) || null, true);
    queue.refresh();
    const place = queue.view.indexOf(positions.at(-1));
    if (place >= 0) queue.at = place;
    this.show();
    announce(positions.length === 1 ? "Undone." : `${counted(positions.length, "decision")} undone.`);
  }

  /** Somebody else, or another tab, decided. */
  changed(position, value) {
    const decision = value === null ? null : sound(value, this.queue);
    if (value !== null && !decision) return;
    const held = this.queue.decisions.get(position);
    if (decision?.decision === held?.decision && decision?.label === held?.label) return; // the server's clock is another
    this.queue.put(position, decision);
    this.queue.history = this.queue.history.filter((item) => item.position !== position);
    this.queue.refresh();
    this.show();
  }

  /** Whether the card can be seen; a key that decides on what nobody sees brings it into view instead. */
  inView() {
    const { top, bottom } = byId("card").getBoundingClientRect();
    if (bottom > 60 && top < window.innerHeight - 60) {
      if (byId("banner").textContent === SCROLLED) warn("");
      return true;
    }
    byId("card").scrollIntoView({ block: "start", behavior: "instant" });
    announce(SCROLLED);
    warn(SCROLLED);
    return false;
  }

  /** Look at the samples of a kind of issue. */
  look(kind) {
    this.filter({ kind, given: -1, suggested: -1, status: "all" });
    announce(`${plain(this.queue.kinds.get(kind).title, 60)}: ${number.format(this.queue.view.length)} shown in the queue.`);
    byId("queue").scrollIntoView({ block: "start" });
  }

  filter(changes) {
    Object.assign(this.queue.filter, changes);
    if (this.queue.byName && !this.blocks.named && !this.incomplete) {
      byId("found").textContent = "Reading the names \u2026";
      this.blocks.name().catch((error) => {
        this.incomplete = true; // what has been read is searched all the same
        warn(`Not all names can be searched: ${error.message}.`);
      }).then(() => this.filter(changes));
      return;
    }
    this.queue.at = "search" in changes || "sort" in changes ? this.queue.at : 0;
    this.queue.refresh();
    const { kind, given, suggested, status, sort } = this.queue.filter;
    byId("kind").value = kind;
    byId("filter-given").value = String(given);
    byId("filter-suggested").value = String(suggested);
    byId("filter-status").value = status;
    byId("sort").value = sort;
    markPair(given, suggested);
    this.show();
  }

  /** A cell of the map: filter by it, or no longer. */
  pair(given, suggested) {
    const { filter } = this.queue;
    const same = filter.kind === "issues" && filter.given === given && filter.suggested === suggested;
    this.filter({ kind: "issues", ...(same ? { given: -1, suggested: -1 } : { given, suggested }) });
    announce(`${number.format(this.queue.view.length)} labels shown in the queue.`);
    if (!same) byId("queue").scrollIntoView({ block: "start" });
  }

  choose() {
    const position = this.queue.current;
    if (position >= 0 && this.inView()) this.chooser.open();
  }

  /** Save corrections.csv where the browser saves files. */
  async download() {
    try {
      await this.blocks.name([...this.queue.decisions.keys()]);
    } catch (error) {
      warn(`The corrections cannot be written: ${error.message}. The decisions are kept.`);
      return;
    }
    const address = URL.createObjectURL(new Blob([this.queue.corrections()], { type: "text/csv;charset=utf-8" }));
    const link = make("a", { href: address, download: "corrections.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    announce(`${number.format(this.queue.decisions.size)} corrections downloaded.`);
  }

  controls() {
    const press = (id, action) => byId(id).addEventListener("click", action);
    for (const decision of ["accept", "keep", "junk"]) press(decision, () => this.decide(decision));
    press("choose", () => this.choose());
    press("undo", () => this.undo());
    press("next", () => this.step(1));
    press("previous", () => this.step(-1));
    press("download", () => this.download());
    press("help-open", () => byId("help").showModal());
    press("clear", () => {
      byId("search").value = "";
      this.filter({ given: -1, suggested: -1, status: "all", search: "" });
    });
    for (const [id, name] of [["filter-given", "given"], ["filter-suggested", "suggested"]]) {
      const options = (this.facts.targets ? [] : this.queue.classes).map((label, k) => make("option", { value: k, dir: "auto" }, plain(label, 40)));
      byId(id).append(make("option", { value: -1 }, "any"), ...options);
      byId(id).addEventListener("change", (event) => this.filter({ [name]: Number(event.target.value) }));
    }
    byId("kind").append(...[...this.queue.kinds.values()].map(({ name, title, positions }) =>
      make("option", { value: name }, `${plain(title, 60)} (${number.format(positions.length)})`)));
    byId("kind").addEventListener("change", (event) => this.filter({ kind: event.target.value }));
    byId("kind").parentElement.hidden = this.queue.kinds.size < 2;
    byId("panels").addEventListener("click", (event) => {
      const button = event.target.closest("[data-kind]");
      if (button) this.look(button.dataset.kind);
    });
    byId("filter-status").addEventListener("change", (event) => this.filter({ status: event.target.value }));
    byId("sort").addEventListener("change", (event) => this.filter({ sort: event.target.value }));
    let typing = 0;
    byId("search").addEventListener("input", (event) => {
      clearTimeout(typing);
      typing = setTimeout(() => this.filter({ search: event.target.value.trim().toLowerCase() }), 120);
    });
    this.many = new Many(this.queue, (positions) => this.acceptAll(positions));
    press("many-open", () => this.many.open());
    this.chooser = new Chooser(this.queue, (label) => {
      const position = this.queue.current;
      const { given, suggested } = { given: this.queue.given(position), suggested: this.queue.suggested(position) };
      this.decide(label === given ? "keep" : label === suggested ? "accept" : "relabel", label);
    });
    for (const button of document.querySelectorAll("[data-close]")) {
      button.addEventListener("click", () => button.closest("dialog").close());
    }
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("beforeunload", (event) => {
      if (this.storage.unsaved && this.queue.decisions.size) event.preventDefault();
    });
  }

  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const typed = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]") &&
      !event.target.closest("dialog:not([open])");
    if (typed || document.querySelector("dialog[open]") || !byId("keys-on").checked) return;
    // A scrollable part keeps its arrows.
    if (event.key.startsWith("Arrow") && event.target.closest?.(".scroll")) return;
    const action = this.keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || (event.repeat && !["n", "p", "ArrowLeft", "ArrowRight"].includes(event.key))) return;
    event.preventDefault();
    action();
  }
}

/** Light or dark: as the system has it, until somebody chooses. */
function theme() {
  const button = byId("theme");
  const root = document.documentElement;
  const storage = browserStorage();
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to ${dark() ? "light" : "dark"} colours`);
  };
  const kept = storage?.getItem("codivide:theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    storage?.setItem("codivide:theme", root.dataset.theme);
    name();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
}

/** Let the browser draw and answer before the next piece of work. */
const pause = () => new Promise((resolve) => { setTimeout(resolve); });

async function main() {
  theme();
  const facts = readJson("facts");
  suitTargets(facts);
  drawHead(facts);
  const app = new App(readJson("config"), facts, readJson("index"));
  await app.start();
  for (const draw of PANELS) {
    await pause();
    const box = draw(facts);
    if (box) byId("panels").append(box);
  }
  await pause();
  if (!facts.targets) drawConfusion(facts, (given, suggested) => app.pair(given, suggested));
  document.documentElement.dataset.ready = "yes";
}

main();
