// Details of the issues (pictures, texts, neighbours) in blocks that are read when they are needed: from the page
// itself, or from script files beside it, since a page opened from disk may not fetch.

const KEPT_BLOCKS = 6;

class Blocks {
  constructor(config, { labels, others }) {
    this.labels = labels;
    this.others = others; // samples that are no labels that look wrong: all that is known of them is here
    this.size = config.block;
    this.files = config.files; // block number -> file beside the page
    this.kept = new Map();
    this.arriving = new Map();
    window.codivideBlock = (block, text) => this.arriving.get(block)?.(JSON.parse(text));
    // Browsers that know trusted types demand that somebody vouches for the address of a script.
    const vouch = { createScriptURL: (address) => address };
    this.policy = Object.keys(this.files).length && window.trustedTypes
      ? window.trustedTypes.createPolicy("codivide", vouch) : vouch;
  }

  /** The details of issue `position` (its place in the queue as it was written). */
  async get(position) {
    if (position >= this.labels) {
      const { thumbnail, text, fields } = this.others[position - this.labels];
      return { thumbnail, text: fields ? null : text, fields, neighbours: null, examples: null };
    }
    const block = Math.floor(position / this.size);
    if (!this.kept.has(block)) {
      this.kept.set(block, this.files[block] ? this.load(block) : this.read(block));
    }
    const content = this.kept.get(block);
    this.kept.delete(block); // to the end: the one used last is the last to go
    this.kept.set(block, content);
    for (const old of this.kept.keys()) {
      if (this.kept.size <= KEPT_BLOCKS) break;
      this.kept.delete(old);
    }
    const { pool, issues } = await content;
    const detail = issues[position % this.size];
    const unpack = (item) => (typeof item === "number" ? pool[item] : item);
    return {
      ...detail,
      thumbnail: unpack(detail.thumbnail),
      fields: detail.fields && detail.fields.map(([name, value]) => [unpack(name), value]),
      examples: { given: detail.examples.given.map(unpack), suggested: detail.examples.suggested.map(unpack) },
    };
  }

  /** A block of this page, which may still be arriving. */
  async read(block) {
    if (!byId(`block-${block}`) && document.readyState === "loading") {
      await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
    }
    return readJson(`block-${block}`);
  }

  load(block) {
    return new Promise((resolve, reject) => {
      const script = make("script");
      const done = () => {
        this.arriving.delete(block);
        script.remove();
      };
      this.arriving.set(block, resolve);
      script.addEventListener("load", done);
      script.addEventListener("error", () => {
        done();
        this.kept.delete(block);
        reject(new Error(`${this.files[block]} is not beside this page`));
      });
      script.src = this.policy.createScriptURL(this.files[block]);
      document.head.append(script);
    });
  }
}
