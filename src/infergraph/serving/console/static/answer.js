// Answers for people: entities in their text, triples as a small graph, the way through the inference graph.

import { draw, duration, make, t } from "./console.js";

const TONES = 6;
const LIMIT = { records: 20, nodes: 24, steps: 240 };

/** Records of knowledge extraction, drawn for a place so many pixels wide; null where none of them is one. */
export function records(given, width) {
  const list = Array.isArray(given) ? given : [given];
  const known = list.filter((row) => row && typeof row.data === "string" && (Array.isArray(row.entity) || Array.isArray(row.relation)));
  if (!known.length) return null;
  return make("div", { class: "records" }, ...known.slice(0, LIMIT.records).map((row) => {
    const box = make("div", { class: "record" });
    const tones = new Map();
    box.append(highlighted(row, tones));
    if (Array.isArray(row.relation) && Array.isArray(row.entity_pair)) box.append(...triples(row, tones, width));
    return box;
  }));
}

const toneOf = (type, tones) => {
  if (!tones.has(type)) tones.set(type, tones.size % TONES);
  return tones.get(type);
};

/** The text with its entities marked: each where it stands next, in the order in which they are given. */
function highlighted(row, tones) {
  const text = row.data;
  const spans = [];
  const given = entitiesOf(row);
  let from = 0;
  for (const [name, type] of given) {
    if (!name) continue;
    let at = text.indexOf(name, from);
    if (at < 0) at = text.indexOf(name);
    if (at < 0 || spans.some(([start, end]) => at < end && at + name.length > start)) continue;
    spans.push([at, at + name.length, type]);
    from = at + name.length;
  }
  spans.sort(([left], [right]) => left - right);
  const shown = make("p", { class: "entities" });
  let end = 0;
  for (const [start, stop, type] of spans) {
    const mark = make("mark", { class: `tone-${toneOf(type, tones)}` }, text.slice(start, stop));
    if (type) mark.append(make("small", {}, type));
    shown.append(text.slice(end, start), mark);
    end = stop;
  }
  shown.append(text.slice(end));
  return shown;
}

function entitiesOf(row) {
  if (Array.isArray(row.entity)) return row.entity.map((name, place) => [String(name), String(row.entity_type?.[place] ?? "")]);
  const seen = new Map();
  (row.entity_pair ?? []).forEach((pair, place) => pair.forEach((name, side) => {
    if (!seen.has(name)) seen.set(String(name), String(row.entity_type_pair?.[place]?.[side] ?? ""));
  }));
  return [...seen].sort(([left], [right]) => row.data.indexOf(left) - row.data.indexOf(right));
}

function triples(row, tones, width) {
  const given = row.relation.map((relation, place) => ({
    head: String(row.entity_pair[place]?.[0] ?? ""), tail: String(row.entity_pair[place]?.[1] ?? ""), relation: String(relation),
    types: row.entity_type_pair?.[place] ?? [],
  }));
  if (!given.length) return [make("p", { class: "hint" }, t("No relations found."))];
  const names = [...new Set(given.flatMap(({ head, tail }) => [head, tail]))];
  const types = new Map(entitiesOf(row));
  for (const { head, tail, types: [first, second] } of given) { types.set(head, first || types.get(head) || ""); types.set(tail, second || types.get(tail) || ""); }
  const list = make("table", { class: "table" }, make("caption", { class: "sr" }, t("Triples")),
    make("thead", {}, make("tr", {}, ...[t("Head"), t("Relation"), t("Tail")].map((word) => make("th", { scope: "col" }, word)))),
    make("tbody", {}, ...given.map(({ head, relation, tail }) => make("tr", {}, make("td", {}, head), make("td", { class: "soft" }, relation), make("td", {}, tail)))));
  return names.length > LIMIT.nodes ? [list] : [graphOf(names, given, types, tones, width), list];
}

/** A small graph whose places come from springs and repulsion, the same every time. */
function graphOf(names, given, types, tones, width) {
  const height = Math.max(190, Math.min(460, (width < 420 ? 200 : 120) + names.length * 26));
  const wide = (text) => [...text].reduce((sum, sign) => sum + (sign.charCodeAt(0) > 0x2e80 ? 14 : 7.6), 24);
  const nodes = names.map((name, place) => {
    const angle = (2 * Math.PI * place) / names.length - Math.PI / 2;
    return { name, width: wide(name), x: width / 2 + Math.cos(angle) * width * 0.32, y: height / 2 + Math.sin(angle) * height * 0.32 };
  });
  const at = new Map(nodes.map((node) => [node.name, node]));
  const links = given.filter(({ head, tail }) => head !== tail).map(({ head, tail, relation }) => ({ from: at.get(head), to: at.get(tail), relation }));
  for (let step = 0; step < LIMIT.steps; step += 1) settle(nodes, links, { width, height }, 1 - step / LIMIT.steps);
  const top = Math.min(...nodes.map((node) => node.y)) - 24;
  const bottom = Math.max(...nodes.map((node) => node.y)) + 24;
  const shown = draw("svg", { class: "triples", viewBox: `0 ${top} ${width} ${bottom - top}`, role: "img", "aria-label": t("The triples as a graph; the table below lists them") });
  for (const { from, to } of links) {
    const [x, y] = edgeOf(to, from);
    const angle = (Math.atan2(to.y - from.y, to.x - from.x) * 180) / Math.PI;
    shown.append(draw("line", { x1: from.x, y1: from.y, x2: x, y2: y }), draw("path", { d: "M0 0l-10 -4.5v9z", transform: `translate(${x} ${y}) rotate(${angle})` }));
  }
  const said = new Map();
  for (const { from, to, relation } of links) {
    const key = [from.name, to.name].sort().join("\n");
    const nth = said.get(key) ?? 0;
    said.set(key, nth + 1);
    shown.append(draw("text", { class: "rel", x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 + nth * 15 - 2 }, relation));
  }
  for (const node of nodes) {
    shown.append(draw("g", { class: `tone-${toneOf(types.get(node.name) ?? "", tones)}`, transform: `translate(${node.x} ${node.y})` },
      draw("rect", { x: -node.width / 2, y: -15, width: node.width, height: 30, rx: 9 }), draw("text", {}, node.name)));
  }
  return shown;
}

function settle(nodes, links, { width, height }, heat) {
  const flat = Math.min(Math.max(width / height, 0.9), 1.9); // nodes lie flat, and so should the whole where there is room
  for (const node of nodes) { node.dx = ((width / 2 - node.x) * 8) / width; node.dy = ((height / 2 - node.y) * 8) / height; }
  for (const one of nodes) for (const other of nodes) {
    if (one === other) continue;
    const [x, y] = [one.x - other.x, (one.y - other.y) * flat];
    const distance = Math.max(Math.hypot(x, y), 12);
    const push = 9000 / (distance * distance);
    one.dx += (x / distance) * push * 2; one.dy += (y / distance) * push;
  }
  for (const { from, to } of links) {
    const [x, y] = [to.x - from.x, to.y - from.y];
    const distance = Math.max(Math.hypot(x, y), 1);
    const pull = (distance - Math.max(120, Math.min(190, width / 3)) - (from.width + to.width) / 8) * 0.03;
    from.dx += (x / distance) * pull; from.dy += (y / distance) * pull;
    to.dx -= (x / distance) * pull; to.dy -= (y / distance) * pull;
  }
  for (const node of nodes) {
    const reach = node.width / 2 + 8;
    node.x = Math.min(width - reach, Math.max(reach, node.x + node.dx * (0.3 + heat)));
    node.y = Math.min(height - 22, Math.max(22, node.y + node.dy * (0.3 + heat)));
  }
}

/** Where the line from `from` meets the box of `node`. */
function edgeOf(node, from) {
  const [x, y] = [from.x - node.x, from.y - node.y];
  const part = Math.min((node.width / 2 + 2) / Math.max(Math.abs(x), 0.01), 17 / Math.max(Math.abs(y), 0.01), 1);
  return [node.x + x * part, node.y + y * part];
}

// ── the route of a response ──────────────────────────────────────────────────────────────────────────────────────

/** The nodes that took part in one request, with the time each took, from the Server-Timing header of its response. */
export function route(topology, meta, timing, took) {
  const spent = {};
  for (const [, name, milliseconds] of timing.matchAll(/desc="([^"]*)";dur=([\d.e+-]+)/g)) spent[decodeURIComponent(name)] = milliseconds / 1000;
  const path = meta.requestPath ?? {};
  const routing = meta.routing ?? {};
  const longest = Math.max(took, ...Object.values(spent));
  const shown = make("div", {}, make("h3", {}, t("Route")), make("ul", { class: "route" }, hop(topology, { path, routing, spent, longest })));
  shown.append(make("p", { class: "hint" }, t("Time of each node itself, without its children.")));
  return shown;
}

function hop(node, told, chosen = "") {
  const { path, routing, spent, longest } = told;
  const seconds = spent[node.name];
  const isPassed = seconds !== undefined || node.name in path || node.name in routing;
  const line = make("div", { class: isPassed || node.children.length ? "hop" : "hop idle", "data-node": node.name });
  line.append(make("span", {}, make("b", {}, node.name), " ", make("span", { class: `kind ${node.css}` }, node.kind.replaceAll("_", " ")), " ", chosen && make("span", { class: "tag" }, chosen)));
  if (seconds === undefined) line.append(make("span"), make("span", { class: "num soft" }, isPassed ? "" : "–"));
  else line.append(make("meter", { min: 0, max: longest, value: seconds, "aria-label": node.name }), make("span", { class: "num" }, duration(seconds)));
  const item = make("li", {}, line);
  if (!node.children.length) return item;
  const branch = routing[node.name];
  let number = 0;
  item.append(make("ul", {}, ...node.children.map((child) => {
    const place = child.role === "child" ? number++ : -1;
    const words = child.role !== "child" ? t(child.role) : node.routes && branch === place ? t("chosen") : "";
    return hop(child, told, words);
  })));
  return item;
}
