// One task: its progress as the server tells it, and what can be done with it.

import { $, call, t, toast } from "./console.js";

const part = $("task");
const path = `api/v1.0/tasks/${encodeURIComponent(part.dataset.id)}`;
const REFRESH_MS = 500;

let due = null;

function refresh() {
  due ??= setTimeout(() => { due = null; part.dispatchEvent(new CustomEvent("refresh")); }, REFRESH_MS);
}

function watch() {
  const events = new EventSource(new URL(`../${path}/events`, location.href));
  events.addEventListener("progress", refresh);
  for (const name of ["end", "fault"]) events.addEventListener(name, () => { events.close(); refresh(); });
  events.addEventListener("error", refresh);
}

function ask(title, text, word) {
  $("sure-title").textContent = title;
  $("sure-text").textContent = text;
  $("sure-yes").textContent = word;
  const dialog = $("sure");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

const acts = {
  async cancel() {
    if (!(await ask(t("Stop this task?"), t("Work stops at once; the task and its results so far are deleted."), t("Stop it")))) return;
    await call("POST", `${path}/cancel`);
    location.assign("tasks");
  },
  async retry() {
    await call("POST", `${path}/retry`);
    toast(t("The failed lines are being retried."));
    refresh();
    watch();
  },
  async delete() {
    if (!(await ask(t("Delete this task?"), t("Its file and results are deleted from disk."), t("Delete it")))) return;
    await call("DELETE", path);
    location.assign("tasks");
  },
};

part.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  button.disabled = true;
  try {
    await acts[button.dataset.act]();
  } catch (error) {
    toast(`${error.message} ${error.advice ?? ""}`, true);
  } finally {
    button.disabled = false;
  }
});

if (["waiting", "running"].includes(part.dataset.state)) watch();
