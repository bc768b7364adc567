// The list of the queue: only the lines in sight exist.

const LINE = 60; // pixels, as in the style sheet
const SPARE = 6; // lines drawn above and below the sight
const TALLEST = 8e6; // pixels of a list; browsers draw nothing beyond some 17 million

class List {
  constructor(queue, blocks, choose) {
    this.queue = queue;
    this.blocks = blocks;
    this.choose = choose;
    this.box = byId("list");
    this.rows = byId("rows");
    this.lines = new Map(); // position -> element
    this.box.addEventListener("scroll", () => this.schedule(), { passive: true });
    new ResizeObserver(() => this.schedule()).observe(this.box);
    this.box.addEventListener("click", (event) => {
      const line = event.target.closest("[data-place]");
      if (line) choose(Number(line.dataset.place));
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / LINE) - 1);
    const last = this.queue.view.length - 1;
    const { at } = this.queue;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(last, to)));
  }

  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /** How many pixels of all lines one pixel of the box's own scrolling is: 1, but of very many lines more. */
  get step() {
    const whole = this.queue.view.length * LINE;
    if (whole <= TALLEST) return 1;
    return (whole - this.box.clientHeight) / (TALLEST - this.box.clientHeight);
  }

  /** Bring the current line into sight, moving the list alone and not the page. */
  reveal() {
    this.rows.style.height = `${Math.min(this.queue.view.length * LINE, TALLEST)}px`;
    const { step } = this;
    const top = this.queue.at * LINE;
    const { clientHeight } = this.box;
    const from = this.box.scrollTop * step;
    if (top < from) this.box.scrollTop = top / step;
    else if (top + LINE > from + clientHeight) this.box.scrollTop = Math.ceil((top + LINE - clientHeight) / step);
    this.draw();
  }

  draw() {
    const { view } = this.queue;
    const seen = this.box.scrollTop * this.step; // where the sight begins, in pixels of all lines
    const from = Math.max(0, Math.floor(seen / LINE) - SPARE);
    const to = Math.min(view.length, Math.ceil((seen + this.box.clientHeight) / LINE) + SPARE);
    this.shift = this.box.scrollTop - seen;
    const wanted = new Set(view.slice(from, to));
    for (const [position, line] of this.lines) {
      if (wanted.has(position)) continue;
      line.remove();
      this.lines.delete(position);
    }
    for (let place = from; place < to; place += 1) {
      let line = this.lines.get(view[place]);
      if (!line) {
        line = this.line(view[place]);
        this.lines.set(view[place], line);
        this.rows.append(line);
      }
      this.update(line, view[place], place);
    }
    const current = this.lines.get(this.queue.current);
    if (current) this.box.setAttribute("aria-activedescendant", current.id);
    else this.box.removeAttribute("aria-activedescendant");
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.fill(), 60); // not while scrolling past
  }

  line(position) {
    const { queue } = this;
    return make("div", { class: "line", role: "option", id: `line-${position}` },
      make("div", { class: "line-image" }),
      make("div", { class: "line-text" },
        make("div", { class: "line-pair" }, shown(queue.given(position), 20), ...this.other(position)),
        make("div", { class: "line-id muted" }, this.words(position))),
      make("span"));
  }

  /** The beginning of a sample in one line, or the end of its name. */
  words(position) {
    const words = this.queue.index.words[position];
    return shown(words ? words.trim().replace(/[\t\r\n ]+/g, " ") : ending(this.queue.name(position), 24), 44);
  }

  /** The suggestion, where it is another class than the given one. */
  other(position) {
    const { queue } = this;
    const same = queue.given(position) === queue.suggested(position);
    return same ? [] : [" \u2192 ", shown(queue.suggested(position), 20)];
  }

  /** What changes while the line stays: its place, whether it is the current one, what was decided. */
  update(line, position, place) {
    const { queue } = this;
    line.style.top = `${place * LINE + this.shift}px`;
    line.dataset.place = place;
    line.setAttribute("aria-posinset", place + 1);
    line.setAttribute("aria-setsize", queue.view.length);
    line.setAttribute("aria-selected", String(place === queue.at));
    const decision = queue.decisions.get(position);
    const side = line.lastElementChild;
    side.className = decision ? `mark mark-${decision.decision}` : "muted";
    side.title = decision ? verdict(decision) : "probability that the given label is right";
    side.textContent = decision ? { accept: "accepted", keep: "kept", relabel: "other", junk: "junk" }[decision.decision]
      : `${percent(1 - queue.doubt(position), 0)} right`;  // p(clean)
  }

  /** Small pictures, and names that had to be read, of the lines in sight. */
  async fill() {
    for (const [position, line] of [...this.lines]) {
      const slot = line.firstElementChild;
      if (!line.isConnected || slot.dataset.filled) continue;
      slot.dataset.filled = "yes";
      try {
        const unnamed = this.queue.index.id[position] === undefined;
        const detail = await this.blocks.get(position);
        if (unnamed) line.querySelector(".line-id").replaceChildren(this.words(position));
        slot.append(...[picture(detail.thumbnail, "")].filter((image) => image));
      } catch {
        delete slot.dataset.filled; // the card says what is missing
      }
    }
  }
}
