// A new task: choose a file, look at its first lines, send it with a bar that moves.

import { $, refused, Refused, size, t } from "./console.js";

const PEEK = 65536;
let file = null;

async function choose(chosen) {
  file = chosen;
  $("file-name").textContent = chosen.name;
  $("file-note").textContent = size(chosen.size);
  const text = await chosen.slice(0, PEEK).text();
  const lines = text.replace(/^\uFEFF/, "").split("\n").filter((line) => line.trim()).slice(0, 3);
  const trouble = troubleOf(chosen, text, lines);
  $("file-trouble").textContent = trouble;
  $("file-trouble").hidden = !trouble;
  $("preview").textContent = lines.map((line) => (line.length > 400 ? line.slice(0, 400) + "…" : line)).join("\n");
  $("preview").hidden = !lines.length;
  $("submit-fields").hidden = !chosen.size;
  if (!chosen.size) return;
  $("task-id").value = `${chosen.name.replace(/\.[^.]*$/, "").slice(0, 200)}-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}`;
  $("task-id").focus();
}

/** What is odd about the first lines, for people to see before the upload; the server takes the file all the same. */
function troubleOf(chosen, text, lines) {
  if (!chosen.size) return t("The file is empty; choose one with a record per line.");
  const whole = text.length < PEEK ? lines : lines.slice(0, -1);
  for (const [place, line] of whole.entries()) {
    try { JSON.parse(line); } catch {
      return t("Line {n} is not JSON and would become an error line in the results. Is this a JSONL file?", { n: place + 1 });
    }
  }
  return "";
}

/** The upload, by XMLHttpRequest since fetch does not tell how far an upload is. */
function upload(query, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", new URL(`../api/v1.0/tasks?${query}`, location.href));
    request.setRequestHeader("content-type", "application/x-ndjson");
    request.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total, event.loaded));
    request.addEventListener("load", () => {
      if (request.status < 300) return resolve(JSON.parse(request.responseText));
      const headers = { get: (name) => request.getResponseHeader(name) };
      return reject(refused({ status: request.status, statusText: request.statusText, headers }, request.responseText));
    });
    request.addEventListener("error", () => reject(new Refused(0, t("The server is not responding."), "")));
    request.send(file);
  });
}

async function submit(event) {
  event.preventDefault();
  if (!file) return;
  const fields = new URLSearchParams({ priority: $("priority").value || "0" });
  if ($("task-id").value.trim()) fields.set("id", $("task-id").value.trim());
  if ($("rows").value) fields.set("rows", $("rows").value);
  $("start").disabled = true;
  $("uploading").hidden = false;
  try {
    const task = await upload(fields, (part, sent) => {
      $("upload-progress").value = part;
      $("upload-text").textContent = part < 1 ? t("Sent {done} of {total}", { done: size(sent), total: size(file.size) }) : t("Upload complete; saving to disk.");
    });
    location.assign(`task?id=${encodeURIComponent(task.id)}`);
  } catch (error) {
    $("file-trouble").replaceChildren(error.box());
    $("file-trouble").hidden = false;
    $("start").disabled = false;
    $("uploading").hidden = true;
  }
}

if ($("submit")) {
  $("file").addEventListener("change", () => $("file").files[0] && choose($("file").files[0]));
  $("submit").addEventListener("submit", submit);
  const drop = $("drop");
  for (const name of ["dragover", "dragenter"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
  });
}
