// What every page of the console shares: words, the clock of live parts, calls of the public API, messages to people.

const words = JSON.parse(document.getElementById("texts").textContent);

/** The words of the page's language; {names} are filled in. */
export function t(text, values = {}) {
  return (words[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The content of a JSON block of the page. */
export function data(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; strings become text, never markup. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  set(element, attributes, children);
  return element;
}

/** The same in an SVG. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(element, attributes, children);
  return element;
}

function set(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
}

// ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One call of the API beside this console; a refusal is thrown as a Refused. */
export async function call(method, path, body, headers = {}) {
  let response;
  try {
    response = await fetch(new URL("../" + path, location.href), { method, body, headers, cache: "no-store" });
  } catch (error) {
    throw new Refused(0, t("The server is not responding."), "");
  }
  const text = await response.text();
  if (!response.ok) throw refused(response, text);
  return { response, text };
}

/** What the server said instead of an answer. */
export class Refused extends Error {
  constructor(status, text, reason, node = "") {
    super(text);
    Object.assign(this, { status, reason, node });
  }

  /** What a person can do about it. */
  get advice() {
    if (this.status === 0) return t("Check that the server is running, then try again.");
    if (this.status === 503) return t("The server is busy or not ready; try again in a moment.");
    if (this.status === 504) return t("The request timed out; raise request_timeout_s, or send less at once.");
    if (this.status === 507) return t("Free disk space in the data folder, or delete old tasks.");
    if (this.status === 413) return t("Send less at once, or raise the limit named above.");
    if (this.status === 409) return t("Choose another name, or wait until the task has ended.");
    if (this.status === 404) return t("It may have been deleted; go back to the list.");
    if (this.status >= 500) return t("The component, or something it calls, failed; see the server's log for details.");
    return t("Correct the request; the message above says where.");
  }

  /** It as a box on the page. */
  box() {
    const where = [this.status ? `HTTP ${this.status}` : "", this.reason, this.node && t("node {name}", { name: this.node })];
    return make("div", { class: "notice bad", role: "alert" },
      make("div", {}, make("strong", {}, this.message), make("br"), this.advice, make("br"),
        make("span", { class: "small soft" }, where.filter(Boolean).join(" · "))));
  }
}

export function refused(response, text) {
  let told = {};
  try { told = JSON.parse(text) ?? {}; } catch { /* no JSON: the text itself will do */ }
  const status = told.status ?? {};
  const info = status.info || told.error || text.slice(0, 400) || response.statusText || `HTTP ${response.status}`;
  const reason = status.reason || response.headers.get("infergraph-reason") || "";
  return new Refused(response.status, info, reason, status.node || decodeURIComponent(response.headers.get("infergraph-node") || ""));
}

// ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** A word at the edge of the page that goes by itself. */
export function toast(text, isBad = false) {
  const box = make("div", { class: isBad ? "toast bad" : "toast" }, text);
  $("toasts").append(box);
  setTimeout(() => box.remove(), isBad ? 9000 : 3500);
}

/** A word for screen readers alone. */
export function announce(text) {
  if ($("announce").textContent !== text) $("announce").textContent = text;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { class: "sr" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(t("Copied."));
}

// ── how things are written ───────────────────────────────────────────────────────────────────────────────────────

export function duration(seconds) {
  if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
}

export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (bytes >= 1000 && place < units.length - 1) { bytes /= 1000; place += 1; }
  return `${bytes.toFixed(place && bytes < 100 ? 1 : 0)} ${units[place]}`;
}

/** A JSON text with its lines broken and indented; numbers stay as they are spelt. */
export function pretty(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  const parts = [];
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at];
    if (token === "[" || token === "{") {
      const end = shortEnd(tokens, at);
      if (end) {
        parts.push(tokens.slice(at, end + 1).join("").replace(/("(?:[^"\\]|\\.)*")|([,:])/g, (whole, words) => words ?? whole + " "));
        at = end;
      } else { depth += 1; parts.push(token, line()); }
    } else if (token === "]" || token === "}") { depth -= 1; parts.push(line(), token); }
    else if (token === ",") parts.push(token, line());
    else parts.push(token === ":" ? ": " : token);
  }
  return parts.join("");
}

/** Where a list or object ends that is short and holds nothing but plain values; 0 for others. */
function shortEnd(tokens, at) {
  let length = 0;
  for (let end = at + 1; end < tokens.length; end += 1) {
    if (tokens[end] === "]" || tokens[end] === "}") return end;
    length += tokens[end].length + 1;
    if (tokens[end] === "[" || tokens[end] === "{" || length > 88) return 0;
  }
  return 0;
}

/** A JSON text with its kinds of values coloured, as text nodes. */
export function coloured(text) {
  const shown = document.createDocumentFragment();
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;
  let end = 0;
  for (const found of text.matchAll(token)) {
    shown.append(text.slice(end, found.index));
    const kind = found[1] ? (found[2] ? "k" : "s") : found[3] ? "n" : "b";
    shown.append(make("span", { class: kind }, found[1] ?? found[0]), found[2] ?? "");
    end = found.index + found[0].length;
  }
  shown.append(text.slice(end));
  return shown;
}

/** Check a field for JSON; the value, or undefined with a word of what is wrong and where. */
export function readJson(field, hint, isOptional = false) {
  const text = field.value;
  const say = (words, isBad) => {
    if (hint.textContent !== words) hint.textContent = words;
    hint.classList.toggle("bad", isBad);
    field.setAttribute("aria-invalid", isBad ? "true" : "false");
  };
  if (!text.trim() && isOptional) { say("", false); return null; }
  try {
    const value = JSON.parse(text);
    say("", false);
    return value;
  } catch (error) {
    const [line, column] = placeOf(text, String(error.message));
    say(text.trim() ? t("Not valid JSON: line {line}, column {column}.", { line, column }) : t("Enter something first."), true);
    return undefined;
  }
}

/** Where a text stops being JSON, from the engine's words or, where it does not say, the end. */
function placeOf(text, words) {
  const direct = words.match(/line (\d+) column (\d+)/);
  if (direct) return [direct[1], direct[2]];
  const position = words.match(/position (\d+)/);
  const before = text.slice(0, position ? Number(position[1]) : text.length).split("\n");
  return [before.length, before.at(-1).length + 1];
}

// ── tabs that swap a panel, by the pattern that screen readers know ──────────────────────────────────────────────

export function tabs(buttons, choose) {
  const select = (button, isByHand) => {
    for (const each of buttons) {
      each.setAttribute("aria-selected", each === button ? "true" : "false");
      each.tabIndex = each === button ? 0 : -1;
    }
    choose(button, isByHand);
  };
  for (const [place, button] of buttons.entries()) {
    button.addEventListener("click", () => select(button, true));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const visible = buttons.filter((each) => !each.hidden);
      const next = visible[(visible.indexOf(button) + step + visible.length) % visible.length];
      next.focus();
      select(next, true);
    });
  }
  return select;
}

// ── the page as a whole ──────────────────────────────────────────────────────────────────────────────────────────

const page = document.documentElement.lang;
const locale = navigator.languages.find((each) => each.slice(0, 2) === page.slice(0, 2)) ?? page;

function localTimes() {
  for (const each of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(each.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    const shown = moment.toLocaleString(locale, { dateStyle: "medium", timeStyle: "medium" });
    if (each.textContent !== shown) each.textContent = shown;
    each.title = each.dateTime;
  }
}

function begin() {
  localTimes();
  setInterval(() => {
    if (document.visibilityState === "visible") document.body.dispatchEvent(new CustomEvent("tick"));
  }, 2000);
  document.body.addEventListener("htmx:after:swap", () => {
    document.body.classList.remove("is-lost");
    localTimes();
    for (const each of document.querySelectorAll("[data-announce]")) announce(each.dataset.announce);
  });
  document.body.addEventListener("htmx:error", () => document.body.classList.add("is-lost"));
  $("preferences").addEventListener("click", async (event) => {
    const button = event.target.closest('button[name="theme"]');
    if (!button) return;
    event.preventDefault();
    document.documentElement.dataset.theme = button.value;
    for (const each of document.querySelectorAll('button[name="theme"]')) each.setAttribute("aria-pressed", String(each === button));
    await fetch("preferences", { method: "POST", body: new URLSearchParams({ theme: button.value }), redirect: "manual" }).catch(() => {});
  });
}

begin();
