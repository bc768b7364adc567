// Showing strings that may be hostile: text nodes only, isolated from the text around them, controls made visible.

// C0, C1, zero-width and bidirectional controls, line separators, lone surrogates, tag characters.
const CONTROLS = new RegExp(
  "[\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff" +
    "\\ufff9-\\ufffb\\ud800-\\udfff\\u{e0000}-\\u{e007f}]", "gu");
const IMAGE = /^data:image\/(?:webp|png|jpeg);base64,[A-Za-z0-9+/]+=*$/;

const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;  // on one line
const counted = (count, one, many = `${one}s`) => `${number.format(count)} ${count === 1 ? one : many}`;

/** How a control character is written: its Unicode picture where there is one, else its code point. */
function controlName(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** At most `most` characters, whole ones. */
function clip(text, most) {
  if (text.length <= most) return text;
  return `${Array.from(text.slice(0, 2 * most)).slice(0, most).join("")}\u2026`;
}

/** The end of a name of more than `most` characters: of "folder/series/0054.png" that is what tells it from the others. */
function ending(text, most) {
  const characters = Array.from(String(text));
  return characters.length <= most ? characters.join("") : `\u2026${characters.slice(1 - most).join("")}`;
}

/** One line for attributes, options and announcements: clipped, controls spelled out. */
function plain(value, most = 80) {
  return clip(String(value), most).replace(CONTROLS, (found) => `[${controlName(found)}]`);
}

/** An element with attributes; a child is a node or a string, which becomes a text node. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** A <bdi> with the text, controls as small marked boxes; line breaks stay where `lines` is set, also those of Windows. */
function shown(value, most = Infinity, lines = false) {
  const text = clip(lines ? String(value).replace(/\r\n/g, "\n") : String(value), most);
  const node = make("bdi");
  let from = 0;
  for (const found of text.matchAll(CONTROLS)) {
    if (lines && found[0] === "\n") continue;
    node.append(text.slice(from, found.index), make("span", { class: "control" }, controlName(found[0])));
    from = found.index + found[0].length;
  }
  node.append(text.slice(from));
  return node;
}

/** The text clipped, or `short` of it, with a button that opens all of it where it was. */
function clipped(value, most = 60, lines = false, short = null) {
  const text = String(value);
  const node = make("span", { class: lines ? "lines" : null }, shown(short ? short(text, most) : text, most, lines));
  if (text.length > most) {
    const more = make("button", { type: "button", class: "more" }, "all of it");
    more.addEventListener("click", () => read(text));
    node.append(" ", more);
  }
  return node;
}

/** The same of a sentence of ours: a number and its percent sign stay on one line. */
function sentence(text, most) {
  return clipped(text.replace(/(\d) %/g, "$1\u00a0%"), most);
}

/** Open the dialog with a whole text. */
function read(text) {
  byId("reader-text").replaceChildren(shown(text, 200000, true));
  byId("reader").showModal();
}

/** An image from a data address, or nothing where it is no image of a kind that the report makes. */
function picture(source, label, className = null) {
  if (typeof source !== "string" || !IMAGE.test(source)) return null;
  const node = make("img", { src: source, alt: label, class: className, draggable: "false" });
  node.addEventListener("load", () => node.classList.toggle("coarse", node.naturalWidth < 100));
  return node;
}

/** Say something to those who do not see the page. */
function announce(text) {
  byId("live").textContent = text;
}

/** A warning that stays in view; an empty text takes it away. */
function warn(text) {
  const banner = byId("banner");
  banner.textContent = text;
  banner.hidden = !text;
}

function readJson(id) {
  return JSON.parse(byId(id).textContent);
}
