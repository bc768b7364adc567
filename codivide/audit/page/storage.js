// Where decisions are kept. Both kinds have load() -> Promise of [position, decision] pairs, save(position, decision
// or null, whether that takes another back) and watch(function of position and decision or null); a position is a
// label's place in the queue. A decision is {decision, label, time}: label is a class name, "" for junk; time is ISO.
// What comes back may be anything: `sound` sorts out what is none.

const DECISIONS = ["accept", "keep", "relabel", "junk"];

/** A stored value as a decision, or null where it is none. */
function sound(value, queue) {
  if (typeof value !== "object" || value === null || !DECISIONS.includes(value.decision)) return null;
  const label = value.decision === "junk" ? "" : value.label;
  if (value.decision !== "junk" && !queue.allows(label, value.decision)) return null;
  return { decision: value.decision, label, time: typeof value.time === "string" ? value.time.slice(0, 40) : "" };
}

/** The browser's storage, or null where it may not be used (blocked, full, a sandbox). */
function browserStorage() {
  try {
    const storage = window.localStorage;
    storage.setItem("codivide:probe", "1");
    storage.removeItem("codivide:probe");
    return storage;
  } catch {
    return null;
  }
}

/** In this browser, one entry a decision, so that two tabs do not overwrite each other's. */
class LocalDecisions {
  constructor(fingerprint, queue) {
    this.storage = browserStorage();
    this.prefix = `codivide:${fingerprint}:`;
    this.rows = queue.index.row;
    this.places = new Map(this.rows.map((row, position) => [String(row), position]));
    if (!this.storage) this.lost();
  }

  lost() {
    this.failed = true;
    warn("This browser does not let the page keep your decisions: download the corrections before you close it.");
  }

  parse(key, text) {
    const position = key?.startsWith(this.prefix) ? this.places.get(key.slice(this.prefix.length)) : undefined;
    if (position === undefined) return [];
    try {
      return [[position, text === null ? null : JSON.parse(text)]];
    } catch {
      return [];
    }
  }

  async load() {
    const keys = this.storage ? Object.keys(this.storage) : [];
    return keys.filter((key) => key.startsWith(this.prefix)).flatMap((key) => this.parse(key, this.storage.getItem(key)));
  }

  save(position, decision) {
    if (!this.storage) return;
    const key = this.prefix + this.rows[position];
    try {
      if (decision) this.storage.setItem(key, JSON.stringify(decision));
      else this.storage.removeItem(key);
    } catch {
      this.lost();
    }
  }

  watch(changed) {
    window.addEventListener("storage", (event) => {
      for (const pair of this.parse(event.key, event.newValue)) changed(...pair);
    });
  }

  /** Decisions that are kept nowhere else yet; here each is kept when it is made. */
  get pending() {
    return 0;
  }

  /** Nothing is left of an earlier page: what it kept is what load() gives. */
  left() {
    return [];
  }

  /** Whether closing the page would lose something. */
  get unsaved() {
    return Boolean(this.failed);
  }
}

const OVERTAKEN = 409; // somebody else has decided since on what was to be undone
const ELSEWHERE = [401, 403, 404, 421]; // what answers does not know this page: another server, or the same started again

/**
 * At the server of `codivide serve`: each decision is sent at once, in order, and again until it has arrived. What waits
 * lies in the browser's storage, too, without the token, and is sent by the next page of this run at this address.
 */
class RemoteDecisions {
  constructor({ token, fingerprint }, queue, changed) {
    this.headers = { "X-Codivide-Token": token, "Content-Type": "application/json" };
    this.queue = queue;
    this.changed = changed; // called when something was saved
    this.places = new Map(queue.index.id.map((id, position) => [id, position]));
    this.storage = browserStorage();
    this.prefix = `codivide:waiting:${fingerprint}:`;
    this.waiting = new Map(); // id -> record, the last decision on each sample
    this.refused = new Set(); // ids
    this.seen = new Map(); // id -> time of the decision that this page knows the server to have
    this.arrived = () => {}; // called with what others decided
    this.busy = false;
  }

  async load() {
    const reply = await fetch("api/decisions", { headers: this.headers, cache: "no-store" });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    return (await reply.json()).flatMap((record) => {
      const position = this.places.get(record.id);
      return position === undefined ? [] : [[position, record]];
    });
  }

  /** What an earlier page could not send: pairs as of load(), less those that somebody has decided on since. */
  left(saved) {
    this.see(saved);
    const times = new Map(saved.map(([position, record]) => [position, record.time || ""]));
    const found = [];
    for (const key of this.storage ? Object.keys(this.storage) : []) {
      if (!key.startsWith(this.prefix)) continue;
      const [position, record] = this.stored(key);
      if (position === undefined || times.get(position) > record.time) this.storage.removeItem(key);
      else found.push([position, record]);
    }
    for (const [, record] of found) this.waiting.set(record.id, record);
    this.send();
    return found.map(([position, record]) => [position, record.decision === null ? null : record]);
  }

  /** Remember what the server has, so that an undo takes back no other decision. */
  see(pairs) {
    this.seen = new Map(pairs.map(([, record]) => [record.id, record.time || ""]));
  }

  /** Position and record of an entry of the browser's storage; nothing where it is none of this run's. */
  stored(key) {
    try {
      const record = JSON.parse(this.storage.getItem(key));
      const position = this.places.get(record.id);
      const fits = position !== undefined && key === this.prefix + record.id && typeof record.time === "string" &&
        record.given === this.queue.given(position) && (record.decision === null || sound(record, this.queue));
      return fits ? [position, record] : [];
    } catch {
      return [];
    }
  }

  save(position, decision, undo = false) {
    const sample = { id: this.queue.index.id[position], given: this.queue.given(position) };
    const record = { ...sample, ...(decision || { decision: null, label: "", time: now() }), undo };
    this.refused.delete(record.id);
    this.waiting.delete(record.id); // the order is that of the last decisions
    this.waiting.set(record.id, record);
    try {
      this.storage?.setItem(this.prefix + record.id, JSON.stringify(record));
    } catch {
      // a full storage: the decision waits in this page alone, which asks before it is closed
    }
    this.send();
  }

  /** Decisions in the queue that the server does not have. */
  get pending() {
    const open = (id) => this.queue.decisions.has(this.places.get(id));
    return [...this.waiting.keys(), ...this.refused].filter(open).length;
  }

  async send() {
    if (this.busy) return;
    this.busy = true;
    while (this.waiting.size) {
      const [id, record] = this.waiting.entries().next().value;
      try {
        await this.post(record);
        if (this.waiting.get(id) === record) {
          this.waiting.delete(id);
          this.storage?.removeItem(this.prefix + id);
        }
      } catch (error) {
        const count = number.format(this.waiting.size);
        warn(`${count} ${this.waiting.size === 1 ? "decision is" : "decisions are"} not saved yet (${error.message}); ` +
          `trying again.${this.storage ? " They wait in this browser." : ""}`);
        this.changed();
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
      this.changed();
    }
    this.busy = false;
  }

  async post(record) {
    const { undo, ...plainly } = record;
    const body = JSON.stringify(undo ? { ...plainly, undoes: this.seen.get(record.id) || "" } : plainly);
    const reply = await fetch("api/decisions", { method: "POST", headers: this.headers, body });
    if (reply.ok) {
      const saved = await reply.json().catch(() => null);
      if (saved) this.seen.set(record.id, saved.time);
      else this.seen.delete(record.id);
      warn("");
    } else if (reply.status === OVERTAKEN) {
      const { error, current } = await reply.json();
      this.seen.set(record.id, current.time);
      this.arrived(this.places.get(record.id), current);
      warn(plain(error, 300));
    } else if (ELSEWHERE.includes(reply.status)) {
      throw new Error("the server was started again: open the address that it prints");
    } else if (reply.status < 500) { // the same again would be refused again
      const { error } = await reply.json().catch(() => ({ error: `status ${reply.status}` }));
      this.refused.add(record.id);
      warn(`The server refused the decision on ${plain(record.id, 80)}: ${plain(error, 300)}`);
    } else throw new Error(`status ${reply.status}`);
  }

  /** Ask every ten seconds what others decided. */
  watch(changed) {
    this.arrived = changed;
    let known = new Set();
    setInterval(async () => {
      if (this.busy || document.hidden) return;
      const sent = this.queue.history.length;
      const pairs = await this.load().catch(() => null); // the next decision says that the server is gone
      if (!pairs || this.busy || sent !== this.queue.history.length) return; // older than what was decided meanwhile
      this.see(pairs);
      const positions = new Set(pairs.map(([position]) => position));
      for (const position of known) if (!positions.has(position)) changed(position, null);
      for (const [position, record] of pairs) changed(position, record);
      known = positions;
    }, 10000);
  }

  get unsaved() {
    return this.waiting.size > 0;
  }
}

function now() {
  return new Date().toISOString();
}

/** A cell that a spreadsheet cannot take for a formula; the two patterns are those of codivide.core.files. */
function guard(cell) {
  return FORMULA.test(cell) && !NUMBER.test(cell) ? `'${cell}` : cell;
}

/** Rows of cells as CSV (RFC 4180). */
function csv(rows) {
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return rows.map((row) => `${row.map((cell) => quoted(guard(cell))).join(",")}\r\n`).join("");
}
