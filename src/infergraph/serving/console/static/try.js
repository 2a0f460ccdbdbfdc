// “Try it”: one message, written as a table, a text or JSON; its answer; the same call to copy.

import { $, call, coloured, copy, data, duration, make, pretty, readJson, Refused, refused, size, t, tabs, toast } from "./console.js";
import { records, route } from "./answer.js";
import { samples } from "./samples.js";
import { fields, hasTensors, outputs, readFields, routingOf, wrongWith } from "./tensors.js";

const unit = data("unit");
const LIMIT = { cells: 4000, recent: 8, items: 1000, recentCharacters: 20000, keptCharacters: 1000000, shownCharacters: 200000 };

let message = unit.start;
let written = ""; // the message as it was typed, where it was: numbers keep their spelling
let pane = unit.pane;
let protocol = methodOf().protocol;
const drafts = {}; // by protocol, what was typed before the other one was chosen
let code = "curl";
let asked = null;

// ── the request, in three spellings of one document ──────────────────────────────────────────────────────────────

/** The rows and column names of a document with a two-dimensional array; null where it has none. */
function tableOf(message) {
  const given = message?.data;
  const names = Array.isArray(given?.names) ? given.names.map(String) : [];
  let rows = given?.ndarray;
  let spelling = "ndarray";
  if (given?.tensor && Array.isArray(given.tensor.values)) {
    const shape = given.tensor.shape ?? [];
    const width = shape.length > 1 ? shape.at(-1) : given.tensor.values.length;
    if (shape.length > 2 || !width) return null;
    rows = [];
    for (let at = 0; at < given.tensor.values.length; at += width) rows.push(given.tensor.values.slice(at, at + width));
    spelling = "tensor";
  }
  if (!Array.isArray(rows)) return null;
  if (rows.length && !Array.isArray(rows[0])) rows = [rows];
  const isFlat = rows.every((row) => Array.isArray(row) && row.length === rows[0].length && row.every((cell) => typeof cell !== "object" || cell === null));
  if (!isFlat || !rows.length || rows.length * rows[0].length > LIMIT.cells) return null;
  return { rows, names, spelling };
}

function ofTable(rows, names, spelling) {
  const given = names.some(Boolean) ? { names: names.map((name, place) => name || String(place)) } : {};
  const kept = message?.meta ? { meta: message.meta } : {};
  if (spelling === "ndarray") return { ...kept, data: { ...given, ndarray: rows } };
  return { ...kept, data: { ...given, tensor: { shape: [rows.length, rows[0].length], values: rows.flat() } } };
}

/** The text of a document that is made of text; null where it is not. */
function textOf(message) {
  if (typeof message?.strData === "string") return message.strData;
  const given = message?.jsonData;
  if (unit.textKey && Array.isArray(given) && given.every((row) => typeof row?.[unit.textKey] === "string" && Object.keys(row).length === 1))
    return given.map((row) => row[unit.textKey]).join("\n");
  return null;
}

function ofText(text) {
  if (!unit.textKey) return { strData: text };
  const lines = text.split("\n").filter((line) => line.trim());
  return { jsonData: lines.map((line) => ({ [unit.textKey]: line })) };
}

const cellValue = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

function showTable() {
  const table = tableOf(message);
  $("tab-table").hidden = !table;
  if (!table) return false;
  $("spelling").value = table.spelling;
  const head = make("tr", {}, make("th", { scope: "col" }, make("span", { class: "sr" }, t("Row"))));
  for (let column = 0; column < table.rows[0].length; column += 1) {
    const label = t("Name of column {n}", { n: column + 1 });
    const name = make("input", { "aria-label": label, placeholder: String(column), "data-name": column });
    name.value = table.names[column] ?? "";
    head.append(make("th", { scope: "col" }, name));
  }
  const body = make("tbody");
  for (const [row, cells] of table.rows.entries()) {
    const remove = make("button", { type: "button", class: "button plain", "data-remove": row, "aria-label": t("Remove row {n}", { n: row + 1 }) }, "×");
    const line = make("tr", {}, make("th", { scope: "row" }, table.rows.length > 1 ? remove : String(row + 1)));
    for (const [column, cell] of cells.entries()) {
      const input = make("input", { "aria-label": t("Row {row}, column {column}", { row: row + 1, column: table.names[column] || column + 1 }), "data-row": row, "data-column": column });
      input.value = cell ?? "";
      line.append(make("td", {}, input));
    }
    body.append(line);
  }
  $("grid").replaceChildren(make("table", {}, make("thead", {}, head), body));
  return true;
}

function readTable() {
  written = "";
  const inputs = [...$("grid").querySelectorAll("tbody tr")];
  const rows = inputs.map((line) => [...line.querySelectorAll("input")].map((input) => cellValue(input.value)));
  const names = [...$("grid").querySelectorAll("[data-name]")].map((input) => input.value.trim());
  const words = rows.flat().some((cell) => typeof cell === "string");
  const hint = $("grid-hint");
  if (words && $("spelling").value === "tensor") {
    hint.textContent = t("A tensor holds only numbers; a table with text is sent as ndarray.");
    $("spelling").value = "ndarray";
  }
  message = ofTable(rows, names, $("spelling").value);
}

function changeTable(change) {
  written = "";
  const table = tableOf(message);
  change(table);
  message = ofTable(table.rows, table.names, table.spelling);
  showTable();
  showCode();
}

function pasteCells(event) {
  const text = event.clipboardData?.getData("text") ?? "";
  const target = event.target.closest("[data-row]");
  if (!target || !/[\t\n]/.test(text.trim())) return;
  event.preventDefault();
  const lines = text.replace(/\r/g, "").replace(/\n$/, "").split("\n").map((line) => line.split("\t"));
  const [top, left] = [Number(target.dataset.row), Number(target.dataset.column)];
  changeTable((table) => {
    const width = Math.max(table.rows[0].length, left + Math.max(...lines.map((line) => line.length)));
    const height = Math.max(table.rows.length, top + lines.length);
    if (width * height > LIMIT.cells) { toast(t("Too many cells for the table; use JSON."), true); return; }
    while (table.rows.length < height) table.rows.push(Array(width).fill(0));
    table.rows = table.rows.map((row) => [...row, ...Array(width - row.length).fill(0)]);
    for (const [y, line] of lines.entries()) for (const [x, cell] of line.entries()) table.rows[top + y][left + x] = cellValue(cell);
  });
}

/** Cells of a CSV file; a quoted one may hold the delimiter, line ends and doubled quotes. */
function csvRows(text) {
  const delimiter = [",", ";", "\t"].map((each) => [text.split("\n", 1)[0].split(each).length, each]).sort(([left], [right]) => right - left)[0][1];
  const rows = [[]];
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${delimiter}\n]*))(${delimiter}|\n|$)`, "gy");
  for (const found of text.replace(/^\ufeff/, "").replace(/\r\n?/g, "\n").matchAll(cell)) {
    rows.at(-1).push(found[1] !== undefined ? found[1].replaceAll('""', '"') : found[2]);
    if (found[3] === "\n") rows.push([]);
    else if (found[3] === "") break;
  }
  return rows.filter((row) => row.some((each) => each !== ""));
}

/** A CSV file as the request: its header, if it has one, gives the names; an index column without a name is left out. */
async function takeCsv(file) {
  const rows = csvRows(await file.text());
  const isNumber = (each) => each.trim() !== "" && Number.isFinite(Number(each));
  const names = rows.length > 1 && !rows[0].some(isNumber) ? rows.shift() : [];
  const first = names.length > 1 && !names[0].trim() ? 1 : 0;
  const width = Math.max(0, ...rows.map((row) => row.length)) - first;
  if (width < 1) { toast(t("There are no rows in this file."), true); return; }
  if (rows.length * width > LIMIT.cells) { toast(t("Too many cells for the table; use JSON."), true); return; }
  const cells = rows.map((row) => Array.from({ length: width }, (_, place) => cellValue(row[place + first] ?? "")));
  const hasWords = cells.flat().some((each) => typeof each === "string");
  written = "";
  message = ofTable(cells, names.slice(first), hasWords ? "ndarray" : (tableOf(unit.start)?.spelling ?? "ndarray"));
  pane = "table";
  showAll();
}

function showText() {
  const text = textOf(message);
  $("tab-text").hidden = text === null;
  if (text === null) return false;
  $("prose").value = text;
  $("prose-hint").textContent = unit.textKey ? t("Each line is one record.") : "";
  return true;
}

function showTensors() {
  const can = hasTensors(message);
  $("tab-tensors").hidden = !can;
  if (!can) return false;
  $("tensors").replaceChildren(...fields(message.inputs, unit.datatypes));
  $("tensors-hint").textContent = "";
  return true;
}

function readTensors() {
  written = "";
  message = { ...message, inputs: readFields($("tensors"), message.inputs) };
  $("tensors-hint").textContent = wrongWith(message.inputs);
}

function changeTensors(change) {
  readTensors();
  change(message.inputs);
  showTensors();
  showCode();
}

function showJson() {
  $("json").value = pretty(bodyOf());
  readJson($("json"), $("json-hint"));
}

/** Show the document in every spelling that can hold it, and open the pane that is wanted, or JSON. */
function showAll() {
  const can = { table: showTable(), text: showText(), tensors: showTensors(), json: true };
  showJson();
  openPane(can[pane] ? pane : "json");
  showCode();
}

function openPane(name) {
  pane = name;
  for (const each of ["table", "text", "tensors", "json"]) {
    $(`pane-${each}`).hidden = each !== name;
    $(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    $(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
}

/** Take over what stands in the open pane; false where it cannot be read. */
function takeOver() {
  written = "";
  if (pane === "table") readTable();
  else if (pane === "text") message = ofText($("prose").value);
  else if (pane === "tensors") readTensors();
  else {
    const value = readJson($("json"), $("json-hint"));
    if (value === undefined) return false;
    message = value;
    written = $("json").value;
  }
  return true;
}

/** The request as it is sent. */
const bodyOf = () => written || JSON.stringify(message);

// ── the same call ────────────────────────────────────────────────────────────────────────────────────────────────

function methodOf() {
  const field = $("method");
  const chosen = field.tagName === "SELECT" ? field.selectedOptions[0] : field;
  return { path: field.value, grpc: chosen.dataset.grpc, client: chosen.dataset.client, protocol: chosen.dataset.protocol };
}

/** Take over the chosen method; one of another protocol has a request of its own, which is kept while one changes. */
function chooseMethod() {
  const chosen = methodOf().protocol;
  if (chosen !== protocol) {
    takeOver();
    drafts[protocol] = { message, written, pane };
    protocol = chosen;
    ({ message, written, pane } = drafts[chosen] ?? { message: unit.tensors, written: "", pane: "tensors" });
    showAll();
  } else showCode();
}

function showCode() {
  $("code").textContent = samples(code, message, bodyOf(), methodOf(), unit);
}

// ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────

async function send() {
  if (!takeOver() || $("send").disabled) { $("json").focus(); return; }
  const method = methodOf();
  const body = bodyOf();
  $("send").disabled = true;
  $("answer").setAttribute("aria-busy", "true");
  try {
    const began = performance.now();
    let response, text;
    const stopping = new AbortController();
    try {
      response = await fetch(new URL(".." + method.path, location.href), { method: "POST", body, headers: { "content-type": "application/json", "infergraph-node-times": "1" }, cache: "no-store", signal: stopping.signal });
      if (isStream(response)) await showStream(response, began, stopping);
      else text = await response.text();
    } catch { throw new Refused(0, t("The server is not responding."), ""); }
    const took = (performance.now() - began) / 1000;
    if (!response.ok) throw refused(response, text);
    if (!isStream(response)) showAnswer(response, text, took);
    keep(method.path, body);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    asked = null;
    $("status").replaceChildren(make("span", { class: "pill bad" }, error.status ? `HTTP ${error.status}` : t("no response")));
    $("shown").replaceChildren(error.box());
  } finally {
    $("send").disabled = false;
    $("answer").setAttribute("aria-busy", "false");
  }
}

const isStream = (response) => (response.headers.get("content-type") ?? "").startsWith("text/event-stream");

/** The items of a stream, each as soon as it comes, until the stream ends or is stopped. */
async function showStream(response, began, stopping) {
  const items = make("ol", { class: "items" });
  const told = make("span");
  const stop = make("button", { type: "button", class: "button small" }, t("Stop"));
  let count = 0;
  let pending = "";
  const tell = () => told.replaceChildren(make("span", { class: "pill ok" }, `${t("{n} items", { n: count })} · ${duration((performance.now() - began) / 1000)}`));
  stop.addEventListener("click", () => stopping.abort());
  asked = null;
  tell();
  $("status").replaceChildren(told, " ", stop);
  $("shown").replaceChildren(items);
  try {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      const events = (pending + read.value).split("\n\n");
      pending = events.pop();
      for (const event of events) {
        count += 1;
        if (count <= LIMIT.items) items.append(itemOf(event.replaceAll(/^data: ?/gm, "")));
      }
      tell();
    }
  } catch (error) {
    if (!stopping.signal.aborted) throw error;
  } finally {
    stop.remove();
  }
}

/** One item: its text or its values, or the error that ended the stream. */
function itemOf(text) {
  let item;
  try { item = JSON.parse(text); } catch { item = null; }
  const error = item?.error ?? (item?.status?.status === "FAILURE" || item?.status?.status === 1 ? item.status.info : undefined);
  if (error !== undefined) return make("li", { class: "bad" }, String(error));
  const outputs = Array.isArray(item?.outputs) ? item.outputs.map((output) => JSON.stringify(output.data?.length === 1 ? output.data[0] : output.data)) : null;
  return make("li", {}, outputs ? outputs.join(" ") : item?.strData ?? text);
}

function showAnswer(response, text, took) {
  let answer;
  try { answer = JSON.parse(text); } catch { answer = null; }
  asked = { request: bodyOf(), response: text };
  if (text.length < LIMIT.keptCharacters) sessionStorage.setItem("asked", JSON.stringify(asked));
  $("status").replaceChildren(make("span", { class: "pill ok" }, `${duration(took)} · ${size(new Blob([text]).size)}`));
  const parts = [];
  const table = answer && tableOf(answer);
  if (table) parts.push(valuesOf(table));
  const shown = records(answer?.jsonData ?? answer?.data?.ndarray, $("shown").clientWidth);
  if (shown) parts.push(shown);
  if (typeof answer?.strData === "string") parts.push(make("pre", { class: "wraps" }, answer.strData));
  const isInference = Array.isArray(answer?.outputs) && methodOf().protocol === "v2";
  if (isInference) parts.push(...outputs(answer, valuesOf));
  const meta = isInference ? { routing: routingOf(answer) } : answer?.meta ?? {};
  const way = answer && route(unit.topology, meta, response.headers.get("server-timing") ?? "", took);
  if (way) parts.push(way);
  if (unit.feedbackPath && unit.mode === "on" && answer && isPrediction()) parts.push(rewardBox());
  const whole = make("pre", { class: "wraps", tabindex: "0" }, answer !== null && text.length < LIMIT.shownCharacters ? coloured(pretty(text)) : text.slice(0, LIMIT.shownCharacters));
  const details = make("details", parts.length > 1 ? {} : { open: true }, make("summary", {}, t("Full response")), whole);
  parts.push(make("div", {}, details));
  $("shown").replaceChildren(...parts);
}

const isPrediction = () => /predict/.test(methodOf().path); // rewards have no form in the open inference protocol

function valuesOf({ rows, names }) {
  const numbers = rows.flat().filter((cell) => typeof cell === "number");
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const head = make("tr", {}, make("th", { scope: "col" }, "#"));
  for (let column = 0; column < rows[0].length; column += 1) head.append(make("th", { scope: "col" }, names[column] || String(column)));
  const body = make("tbody");
  for (const [place, row] of rows.slice(0, 200).entries()) {
    const line = make("tr", {}, make("th", { scope: "row" }, String(place + 1)));
    for (const cell of row) {
      const isNumber = typeof cell === "number";
      const box = make("td", { class: isNumber && high > low ? "heat" : "" }, isNumber ? String(Number(cell.toPrecision(7))) : String(cell));
      if (isNumber && high > low) box.style.setProperty("--heat", ((cell - low) / (high - low)).toFixed(3));
      line.append(box);
    }
    body.append(line);
  }
  return make("div", { class: "values", tabindex: "0", role: "region", "aria-label": t("Values in the response") }, make("table", {}, make("thead", {}, head), body));
}

function rewardBox() {
  const said = make("span", { role: "status", class: "small soft" });
  const give = (reward, words) => {
    const button = make("button", { type: "button", class: "button small", "data-reward": reward }, words);
    button.addEventListener("click", async () => {
      const body = `{"request":${asked.request},"response":${asked.response},"reward":${reward}}`;
      try {
        await call("POST", unit.feedbackPath.slice(1), body, { "content-type": "application/json" });
        said.textContent = t("Reward {n} sent along the route of this response.", { n: reward });
      } catch (error) {
        said.textContent = `${error.message} ${error.advice ?? ""}`;
      }
    });
    return button;
  };
  return make("div", { class: "actions" }, make("span", { class: "small soft" }, t("Was this response good?")), give(1, t("Yes, reward 1")), give(0, t("No, reward 0")), said);
}

// ── earlier requests, kept by the browser alone ──────────────────────────────────────────────────────────────────

const STORE = `infergraph:${unit.name}`;

function kept() {
  try { return JSON.parse(localStorage.getItem(STORE)) ?? []; } catch { return []; }
}

function keep(path, body) {
  if (body.length > LIMIT.recentCharacters) return;
  const list = [{ path, body, at: Date.now() }, ...kept().filter((each) => each.body !== body || each.path !== path)];
  localStorage.setItem(STORE, JSON.stringify(list.slice(0, LIMIT.recent)));
  showKept();
}

function showKept() {
  const list = kept();
  $("recent").hidden = !list.length;
  const first = $("recent").options[0];
  $("recent").replaceChildren(first, ...list.map((each, place) => make("option", { value: place }, `${new Date(each.at).toLocaleTimeString()} ${each.body.slice(0, 48)}`)));
}

// ── wiring ───────────────────────────────────────────────────────────────────────────────────────────────────────

tabs(["table", "text", "tensors", "json"].map((name) => $(`tab-${name}`)), (button) => {
  if (takeOver()) { pane = button.dataset.pane; showAll(); } else { openPane("json"); $("tab-json").focus(); }
});
const codes = [...document.querySelectorAll("[data-code]")];
tabs(codes, (button) => {
  code = button.dataset.code;
  $("code").setAttribute("aria-labelledby", button.id);
  showCode();
})(codes[0]);
$("ask").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); send(); }
});
$("json").addEventListener("input", () => { if (takeOver()) showCode(); });
$("prose").addEventListener("input", () => { takeOver(); showCode(); });
$("grid").addEventListener("input", () => { readTable(); showCode(); });
$("tensors").addEventListener("input", () => { readTensors(); showCode(); });
$("tensors").addEventListener("change", (event) => { if (event.target.dataset.tensor === "datatype") changeTensors(() => {}); });
$("tensors").addEventListener("click", (event) => {
  const button = event.target.closest("[data-remove-tensor]");
  if (button) changeTensors((inputs) => inputs.splice(Number(button.dataset.removeTensor), 1));
});
$("add-tensor").addEventListener("click", () => changeTensors((inputs) => inputs.push({ name: `input-${inputs.length}`, shape: [1], datatype: "FP32", data: [0] })));
$("grid").addEventListener("paste", pasteCells);
$("grid").addEventListener("click", (event) => {
  const button = event.target.closest("[data-remove]");
  if (button) changeTable((table) => table.rows.splice(Number(button.dataset.remove), 1));
});
const card = $("ask").closest("section");
card.addEventListener("dragover", (event) => { event.preventDefault(); card.classList.add("is-over"); });
card.addEventListener("dragleave", () => card.classList.remove("is-over"));
card.addEventListener("drop", (event) => {
  event.preventDefault();
  card.classList.remove("is-over");
  const [file] = event.dataTransfer.files;
  if (file) takeCsv(file);
});
$("spelling").addEventListener("change", () => { readTable(); showCode(); });
$("add-row").addEventListener("click", () => changeTable((table) => table.rows.push([...table.rows.at(-1)])));
$("add-column").addEventListener("click", () => changeTable((table) => table.rows.forEach((row) => row.push(0))));
$("tidy").addEventListener("click", () => { if (takeOver()) showJson(); });
$("copy").addEventListener("click", () => copy($("code").textContent));
$("method").addEventListener("change", chooseMethod);
$("recent").addEventListener("change", () => {
  const chosen = kept()[Number($("recent").value)];
  if (!chosen || $("recent").value === "") return;
  message = JSON.parse(chosen.body);
  written = chosen.body;
  if ($("method").tagName === "SELECT") $("method").value = chosen.path;
  protocol = methodOf().protocol;
  pane = tableOf(message) ? "table" : textOf(message) !== null ? "text" : hasTensors(message) ? "tensors" : "json";
  showAll();
  $("recent").value = "";
});
showKept();
showAll();
