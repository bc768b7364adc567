// Details of the issues (pictures, texts, neighbours) in blocks that are read when they are needed: from the page
// itself, or from script files beside it, since a page opened from disk may not fetch.

const KEPT_BLOCKS = 6;

class Blocks {
  constructor(config, { labels, others }, index) {
    this.labels = labels;
    this.index = index;
    this.names = config.names; // ids and words of all but the first issues: how many stand in the index, files
    this.reading = new Map(); // number of a file of names -> when it has been read
    this.others = others; // samples that are no labels that look wrong: all that is known of them is here
    this.size = config.block;
    this.files = config.files; // block number -> file beside the page
    this.kept = new Map();
    this.arriving = new Map();
    window.codivideBlock = (key, text) => this.arriving.get(key)?.(JSON.parse(text));
    // Browsers that know trusted types demand that somebody vouches for the address of a script.
    const vouch = { createScriptURL: (address) => address };
    this.policy = Object.keys(this.files).length && window.trustedTypes
      ? window.trustedTypes.createPolicy("codivide", vouch) : vouch;
  }

  /** Whether ids and words of all issues are in the index. */
  get named() {
    return this.index.id.findIndex((id) => id === undefined) < 0;
  }

  /** Read ids and words of these issues (null: of all) into the index. */
  async name(positions = null) {
    const files = positions ? new Set(positions.filter((position) => this.index.id[position] === undefined)
      .map((position) => Math.floor((position - this.names.first) / this.names.size)))
      : Object.keys(this.names.files).map(Number);
    await Promise.all([...files].map((file) => {
      if (!this.reading.has(file)) this.reading.set(file, this.readNames(file));
      return this.reading.get(file);
    }));
  }

  async readNames(file) {
    try {
      const part = await this.load(`names${file}`, this.names.files[file]);
      const start = this.names.first + file * this.names.size;
      for (const column of ["id", "words"]) {
        part[column].forEach((value, k) => { this.index[column][start + k] = value; });
      }
    } catch (error) {
      this.reading.delete(file);
      throw error;
    }
  }

  /** The details of issue `position` (its place in the queue as it was written). */
  async get(position) {
    if (position >= this.labels) {
      const { thumbnail, text, fields } = this.others[position - this.labels];
      return { thumbnail, text: fields ? null : text, fields, neighbours: null, examples: null };
    }
    const block = Math.floor(position / this.size);
    if (!this.kept.has(block)) {
      this.kept.set(block, this.files[block] ? this.load(String(block), this.files[block]) : this.read(block));
    }
    const content = this.kept.get(block);
    this.kept.delete(block); // to the end: the one used last is the last to go
    this.kept.set(block, content);
    for (const old of this.kept.keys()) {
      if (this.kept.size <= KEPT_BLOCKS) break;
      this.kept.delete(old);
    }
    const [{ pool, layouts, issues }] = await Promise.all([content, this.name([position])]);
    const { text = null, fields = null, neighbours = null, range = null, thumbnail, examples } = issues[position % this.size];
    const unpack = (item) => (typeof item === "number" ? pool[item] : item);
    return {
      text,
      range,
      thumbnail: unpack(thumbnail),
      fields: fields && fields.slice(1).map((value, k) => [unpack(layouts[fields[0]][k]), value]),
      neighbours: neighbours && { agree: neighbours[0], of: neighbours[1] },
      examples: { given: examples[0].map(unpack), suggested: examples[1].map(unpack) },
    };
  }

  /** A block of this page, which may still be arriving. */
  async read(block) {
    if (!byId(`block-${block}`) && document.readyState === "loading") {
      await new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
    }
    return readJson(`block-${block}`);
  }

  /** What a file beside this page hands over under a key. */
  load(key, file) {
    return new Promise((resolve, reject) => {
      const script = make("script");
      const done = () => {
        this.arriving.delete(key);
        script.remove();
      };
      this.arriving.set(key, resolve);
      script.addEventListener("load", done);
      script.addEventListener("error", () => {
        done();
        this.kept.delete(Number(key));
        reject(new Error(`${file} is not beside this page`));
      });
      script.src = this.policy.createScriptURL(file);
      document.head.append(script);
    });
  }
}
