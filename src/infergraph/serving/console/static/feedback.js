// A reward for an answer.

import { $, call, data, pretty, readJson, t } from "./console.js";

const unit = data("unit");
const asked = JSON.parse(sessionStorage.getItem("asked") ?? "null");
$("request").value = pretty(asked?.request ?? JSON.stringify(unit.start));
$("response").value = pretty(asked?.response ?? "{}");

for (const name of ["request", "response", "truth"]) $(name).addEventListener("input", () => readJson($(name), $(`${name}-hint`), name === "truth"));
$("reward-range").addEventListener("input", () => { $("reward").value = $("reward-range").value; });
$("reward").addEventListener("input", () => { $("reward-range").value = $("reward").value; });

$("reward-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = { request: false, response: false, truth: true };
  const read = Object.entries(fields).map(([name, isOptional]) => readJson($(name), $(`${name}-hint`), isOptional));
  if (read.includes(undefined)) return;
  const reward = Number($("reward").value);
  // As they are typed, and not as JavaScript reads them: numbers keep their spelling.
  const truth = $("truth").value.trim() ? `,"truth":${$("truth").value}` : "";
  const body = `{"request":${$("request").value},"response":${$("response").value},"reward":${reward}${truth}}`;
  $("trouble").replaceChildren();
  $("sent").textContent = "";
  try {
    await call("POST", unit.feedbackPath.slice(1), body, { "content-type": "application/json" });
    $("sent").textContent = t("Sent: reward {n}.", { n: reward });
    document.body.dispatchEvent(new CustomEvent("tick"));
  } catch (error) {
    $("trouble").replaceChildren(error.box());
  }
});
