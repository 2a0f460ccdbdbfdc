// The same call for other tools: curl, Python, grpcurl.

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The call of `message`, spelt as `body`, in `language`, as text to copy. */
export function samples(language, message, body, method, unit) {
  if (method.protocol === "v2" && language !== "curl") {
    const inPython = method.path.endsWith("_stream") ? streaming : triton;
    return language === "python" ? inPython(message, unit) : inference(message, method, unit);
  }
  const base = new URL("..", location.href).href.replace(/\/$/, "");
  if (language === "curl") return curl(body, base + method.path);
  if (language === "python") return python(message, base, method);
  return grpcurl(body, method, unit);
}

function curl(body, url) {
  return `curl -${url.endsWith("_stream") ? "N" : ""}s ${quoted(url)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`;
}

function grpcurl(body, method, unit) {
  const path = method.protocol === "v2" ? method.grpc : `seldon.protos.${method.grpc}`;
  const host = location.hostname.includes(":") ? `[${location.hostname}]` : location.hostname;
  return `grpcurl -plaintext -d ${quoted(body)} \\\n  ${host}:${unit.grpcPort} ${path}`;
}

// ── the open inference protocol ──────────────────────────────────────────────────────────────────────────────────

const CONTENTS = { BOOL: "bool", INT8: "int", INT16: "int", INT32: "int", INT64: "int64", UINT8: "uint", UINT16: "uint", UINT32: "uint", UINT64: "uint64", FP32: "fp32", FP64: "fp64", BYTES: "bytes" };
const DTYPES = { BOOL: "bool_", FP16: "float16", FP32: "float32", FP64: "float64" };

const tensorsOf = (message) => (Array.isArray(message?.inputs) ? message.inputs : []);
const elementsOf = (tensor) => (Array.isArray(tensor.data) ? tensor.data.flat(Infinity) : []);

/** The call by Triton's client. */
function triton(message, unit) {
  const tensors = tensorsOf(message);
  const given = tensors.flatMap((tensor, place) => {
    const dtype = tensor.datatype === "BYTES" ? "object" : `np.${DTYPES[tensor.datatype] ?? String(tensor.datatype).toLowerCase()}`;
    const values = `np.array(${literal(elementsOf(tensor))}, dtype=${dtype}).reshape(${literal(tensor.shape)})`;
    return [`inputs.append(triton.InferInput(${literal(tensor.name)}, ${literal(tensor.shape)}, ${literal(tensor.datatype)}))`, `inputs[${place}].set_data_from_numpy(${values})`];
  });
  const isSafe = location.protocol === "https:";
  const address = location.host + new URL("..", location.href).pathname.replace(/\/$/, "");
  return ["import numpy as np", "import tritonclient.http as triton", "", `client = triton.InferenceServerClient(${literal(address)}${isSafe ? ", ssl=True" : ""})`, "inputs = []", ...given,
    `answer = client.infer(${literal(unit.model)}, inputs)`, 'for output in answer.get_response()["outputs"]:', '    print(output["name"], answer.as_numpy(output["name"]))'].join("\n");
}

/** A stream by the client of this runtime; Triton's has none over HTTP. */
function streaming(message, unit) {
  const given = tensorsOf(message).map((tensor) => {
    const dtype = tensor.datatype === "BYTES" ? "object" : `np.${DTYPES[tensor.datatype] ?? String(tensor.datatype).toLowerCase()}`;
    return `    ${literal(tensor.name)}: np.array(${literal(elementsOf(tensor))}, dtype=${dtype}).reshape(${literal(tensor.shape)}),`;
  });
  const base = new URL("..", location.href).href.replace(/\/$/, "");
  return ["import numpy as np", "from infergraph.client import Client", "", "inputs = {", ...given, "}",
    `with Client(${JSON.stringify(base)}, protocol="v2", model=${literal(unit.model)}) as client:`, "    for answer in client.stream(inputs):", "        print(answer)"].join("\n");
}

/** The call by grpcurl in typed contents, which FP16 and BF16 do not have. */
function inference(message, method, unit) {
  const inputs = tensorsOf(message).map((tensor) => {
    const field = CONTENTS[tensor.datatype];
    const data = elementsOf(tensor).map((element) => (field === "bytes" ? base64(String(element)) : element));
    return { name: tensor.name, datatype: tensor.datatype, shape: tensor.shape, contents: field ? { [`${field}_contents`]: data } : {} };
  });
  return grpcurl(JSON.stringify({ model_name: unit.model, inputs }), method, unit);
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

function python(message, base, method) {
  const payload = payloadOf(message);
  if (payload === null || !method.client) {
    return ["import json", "import urllib.request", "", `message = ${literal(message)}`, "request = urllib.request.Request(",
      `    ${JSON.stringify(base + method.path)},`, "    data=json.dumps(message).encode(),", '    headers={"Content-Type": "application/json"},', ")",
      "with urllib.request.urlopen(request) as answer:", "    print(json.load(answer))"].join("\n");
  }
  const head = payload.isTensor ? ["import numpy as np", ""] : [];
  return [...head, "from infergraph.client import Client", "", `with Client(${JSON.stringify(base)}) as client:`,
    `    answer = client.${method.client}(${payload.code}${payload.names ? `, names=${literal(payload.names)}` : ""})`, "print(answer)"].join("\n");
}

/** What the client would be given for a message; null where it has no such way. */
function payloadOf(message) {
  if (!message || message.meta) return null;
  if (typeof message.strData === "string") return { code: literal(message.strData) };
  if (message.jsonData !== undefined && (typeof message.jsonData === "object" && message.jsonData !== null)) {
    const isRows = !Array.isArray(message.jsonData) || message.jsonData.some((row) => row !== null && typeof row === "object" && !Array.isArray(row));
    return isRows ? { code: literal(message.jsonData) } : null;
  }
  const given = message.data;
  const names = Array.isArray(given?.names) && given.names.length ? given.names : null;
  if (Array.isArray(given?.ndarray) && !given.ndarray.some((row) => row !== null && typeof row === "object" && !Array.isArray(row))) return { code: literal(given.ndarray), names };
  const tensor = given?.tensor;
  if (Array.isArray(tensor?.values) && Array.isArray(tensor.shape)) return { code: `np.array(${literal(tensor.values)}, dtype=float).reshape(${literal(tensor.shape)})`, names, isTensor: true };
  return null;
}

/** A JSON value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${literal(each)}`).join(", ")}}`;
  return JSON.stringify(value);
}
