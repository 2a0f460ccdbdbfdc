// Requests and answers of the open inference protocol: a field for each tensor, and what came back beside its parameters.

import { coloured, make, pretty, t } from "./console.js";

const SHOWN = 200; // elements of one output

/** Whether a document is a request in tensors that fields can hold. */
export function hasTensors(message) {
  const inputs = message?.inputs;
  return Array.isArray(inputs) && inputs.length > 0 && inputs.every((each) => typeof each?.name === "string" && Array.isArray(each.shape) && Array.isArray(each.data) && each.data.flat(Infinity).every((element) => typeof element !== "object"));
}

/** A field for each tensor of a request. */
export function fields(inputs, datatypes) {
  return inputs.map((tensor, place) => {
    const label = (words, name) => make("label", { for: `tensor-${place}-${name}` }, words);
    const named = (name, value, more = {}) => {
      const input = make("input", { id: `tensor-${place}-${name}`, "data-tensor": name, spellcheck: "false", ...more });
      input.value = value;
      return input;
    };
    const kind = make("select", { id: `tensor-${place}-datatype`, "data-tensor": "datatype" }, ...datatypes.map((each) => make("option", each === tensor.datatype ? { selected: "" } : {}, each)));
    const area = make("textarea", { id: `tensor-${place}-data`, "data-tensor": "data", rows: 3, spellcheck: "false" });
    area.value = tensor.data.flat(Infinity).join(tensor.datatype === "BYTES" ? "\n" : ", ");
    const remove = make("button", { type: "button", class: "button plain fit", "data-remove-tensor": place, "aria-label": t("Remove tensor {name}", { name: tensor.name }) }, "×");
    const head = make("div", { class: "row" },
      make("div", {}, label(t("Name"), "name"), named("name", tensor.name)),
      make("div", {}, label(t("Datatype"), "datatype"), kind),
      make("div", {}, label(t("Shape"), "shape"), named("shape", tensor.shape.join(", "), { inputmode: "numeric" })),
      ...(inputs.length > 1 ? [remove] : []));
    const box = make("fieldset", { "data-place": place }, make("legend", { class: "sr" }, t("Tensor {name}", { name: tensor.name })), head,
      make("div", {}, label(tensor.datatype === "BYTES" ? t("Elements, one a line") : t("Elements, separated by commas"), "data"), area));
    return box;
  });
}

/** The tensors that stand in the fields; other members are those of `inputs` at the same place. */
export function readFields(box, inputs) {
  return [...box.querySelectorAll("fieldset")].map((field, place) => {
    const value = (name) => field.querySelector(`[data-tensor=${name}]`).value;
    const datatype = value("datatype");
    const shape = value("shape").split(/[\s,]+/).filter(Boolean).map(Number);
    return { ...inputs[place], name: value("name"), shape, datatype, data: elements(value("data"), datatype) };
  });
}

function elements(text, datatype) {
  if (datatype === "BYTES") return text.split("\n");
  return text.split(/[\s,;[\]]+/).filter(Boolean).map((word) => element(word, datatype));
}

function element(word, datatype) {
  if (datatype === "BOOL") return /^(true|1)$/i.test(word) ? true : /^(false|0)$/i.test(word) ? false : word;
  if (word.trim() === "" || !Number.isFinite(Number(word))) return word;
  const number = Number(word);
  // JavaScript's numbers lose digits of large integers
  return /^-?\d+$/.test(word) && !Number.isSafeInteger(number) && JSON.rawJSON ? JSON.rawJSON(word) : number;
}

/** What is wrong with the tensors of a request; empty if nothing is. */
export function wrongWith(inputs) {
  for (const { name, shape, data } of inputs) {
    const wanted = shape.reduce((product, each) => product * each, 1);
    if (shape.some((each) => !Number.isInteger(each) || each < 0)) return t("{name}: the shape is whole numbers, separated by commas.", { name });
    if (wanted !== data.length) return t("{name}: the shape needs {wanted} elements, and there are {n}.", { name, wanted, n: data.length });
  }
  return "";
}

/** The outputs of an answer, each with its elements, and the parameters; `table` draws rows of numbers. */
export function outputs(answer, table) {
  const parts = answer.outputs.map((output) => {
    const told = [output.datatype, `[${output.shape.join(", ")}]`].join(" ");
    const box = make("div", { "data-output": output.name }, make("h3", {}, output.name, " ", make("span", { class: "small soft" }, told)), elementsOf(output, table));
    const own = parameters(output.parameters);
    if (own) box.append(own);
    return box;
  });
  const all = parameters(answer.parameters);
  if (all) parts.push(make("div", {}, make("h3", {}, t("Parameters")), all));
  return parts;
}

function elementsOf({ shape, data }, table) {
  if (!Array.isArray(data) || !data.length) return make("p", { class: "hint" }, t("No elements."));
  const width = shape.length > 1 ? shape.at(-1) : 1;
  if (shape.length <= 2 && data.length <= SHOWN * Math.max(width, 1)) {
    const rows = [];
    for (let at = 0; at < data.length; at += width) rows.push(data.slice(at, at + width));
    return table({ rows, names: [] });
  }
  const shown = JSON.stringify(data.slice(0, SHOWN));
  return make("pre", { class: "wraps", tabindex: "0" }, coloured(pretty(shown)), data.length > SHOWN ? " …" : "");
}

function parameters(given) {
  const pairs = Object.entries(given ?? {});
  return pairs.length ? make("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])) : null;
}

/** The route that the routers of a graph took, as the answer's parameters tell it. */
export function routingOf(answer) {
  try { return JSON.parse(answer.parameters.seldon_routing); } catch { return undefined; }
}
