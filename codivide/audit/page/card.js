// The card of the current label: what is known of it, and examples of both classes.

class Card {
  constructor(queue, blocks, served) {
    this.queue = queue;
    this.blocks = blocks;
    this.served = served; // whether there is a server that has the originals
    this.zoom = 1;
    this.body = byId("card-body");
  }

  /** Larger or smaller pictures. */
  scale(factor) {
    this.zoom = Math.min(4, Math.max(0.5, this.zoom * factor));
    this.body.style.setProperty("--zoom", String(this.zoom));
  }

  async draw() {
    const { queue } = this;
    const position = queue.current;
    byId("nothing").hidden = position >= 0;
    byId("card").hidden = position < 0;
    if (position < 0) return;
    const decision = queue.decisions.get(position);
    byId("card-title").replaceChildren(
      `${number.format(queue.at + 1)} of ${number.format(queue.view.length)} `,
      make("span", { class: `mark ${decision ? `mark-${decision.decision}` : ""}` }, verdict(decision)));
    byId("accept").hidden = queue.suggested(position) === queue.given(position);
    byId("accept-name").replaceChildren(shown(queue.suggested(position), 24));
    byId("keep-name").replaceChildren(shown(queue.given(position), 24));
    byId("previous").disabled = queue.at === 0;
    byId("next").disabled = queue.at >= queue.view.length - 1;
    let detail;
    try {
      detail = await this.blocks.get(position);
    } catch (error) {
      detail = { kind: "text", thumbnail: null, text: null, fields: null, neighbours: null, problem: error.message,
        examples: null };
    }
    if (queue.current === position) this.body.replaceChildren(...this.content(position, detail));
  }

  content(position, detail) {
    const { index } = this.queue;
    const clean = index.clean[position];
    const sure = index.sure[position];
    const facts = make("dl", { class: "facts" });
    const fact = (name, ...value) => facts.append(make("div", {}, make("dt", {}, name), make("dd", {}, ...value)));
    const numbers = this.queue.targets?.kind === "regression";
    fact("Given", clipped(this.queue.given(position), 80));
    fact("Suggested", clipped(this.queue.suggested(position), 80),
      sure === null ? null : make("span", { class: "muted" }, numbers
        ? ` (if the given one is wrong, nearer to the truth with probability ${sure.toFixed(2)})` : ` with probability ${sure.toFixed(2)}`));
    if (detail.range) fact("Predicted", `between ${short(detail.range[0])} and ${short(detail.range[1])} (90\u00a0%)`);
    fact("p(clean)", clean === null ? "unknown" : bar(clean, clean.toFixed(3), clean < 0.5 ? "bad" : "good"));
    if (detail.neighbours) {
      const { agree, of } = detail.neighbours;
      fact("Neighbours", `${of - agree} of the ${of} nearest samples disagree with the given label`);
    }
    const found = this.queue.found(position);
    if (found.length) fact("Found as", found.join(", "));
    fact("Name", clipped(this.queue.name(position), 80));
    const sample = make("div", { class: "sample" }, ...this.sample(position, detail));
    if (!detail.examples) return [make("div", { class: "card-main" }, sample, facts)];
    const examples = make("div", { class: "examples" },
      ...(this.queue.targets ? [this.examples("Near samples that look right", "", "a near sample", detail.examples.suggested)] : [
        this.examples("Clean examples of", this.queue.given(position), "the given class", detail.examples.given),
        this.examples("Clean examples of", this.queue.suggested(position), "the suggested class", detail.examples.suggested)]));
    return [make("div", { class: "card-main" }, sample, facts), examples];
  }

  sample(position, detail) {
    const parts = [];
    if (detail.problem) parts.push(make("p", { class: "flag" }, `The sample cannot be shown: ${plain(detail.problem, 200)}`));
    const image = picture(detail.thumbnail, "The sample");
    if (image) {
      const button = make("button", { type: "button", class: "enlarge", "aria-label": "Enlarge the picture",
        "aria-keyshortcuts": "z" }, image);
      button.addEventListener("click", () => this.enlarge());
      parts.push(button);
    }
    if (typeof detail.text === "string") parts.push(make("div", { class: "text" }, clipped(detail.text, 1500, true)));
    if (detail.fields?.length) {
      const body = make("tbody");
      const more = growing(body, detail.fields, ([name, value]) => make("tr", {},
        make("th", { scope: "row" }, clipped(name, 40)),
        make("td", {}, value === null ? make("span", { class: "muted" }, "missing") : clipped(value, 400, true))), 20);
      parts.push(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Values of the sample" },
        make("table", {}, body), more));
    }
    if (!parts.length) parts.push(make("p", { class: "muted" }, "There is no picture or text of this sample."));
    return parts;
  }

  examples(title, name, which, items) {
    const list = make("ul", {}, ...items.map((item) => {
      const image = picture(item, `Clean example of ${which}`);
      return make("li", {}, image || clipped(item, 160, true));
    }));
    return make("section", {}, make("h4", {}, `${title} `, shown(name, 40)),
      items.length ? list : make("p", { class: "muted" }, "None was found."));
  }

  /** The picture in a dialog; from a server, the original. */
  async enlarge() {
    const position = this.queue.current;
    if (position < 0) return;
    const detail = await this.blocks.get(position);
    const image = picture(detail.thumbnail, "The sample, enlarged", "large");
    if (!image) return;
    if (this.served) {
      image.addEventListener("error", () => { image.src = detail.thumbnail; }, { once: true });
      image.src = `original/${this.queue.index.row[position]}`;
    }
    const holder = byId("viewer-image");
    let width = 0;
    const resize = (factor) => {
      width = Math.min(8000, Math.max(32, (width || image.clientWidth) * factor));
      image.style.width = `${width}px`;
    };
    byId("viewer-in").onclick = () => resize(1.5);
    byId("viewer-out").onclick = () => resize(1 / 1.5);
    holder.replaceChildren(image);
    byId("viewer").showModal();
  }
}
