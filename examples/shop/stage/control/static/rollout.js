// The rollout of a new release: how far it is, and why.

import { $, html, keep, say } from "./dom.js";

const percent = (share) => `${Math.round(100 * share)} %`;
const failed = (counts) => (counts ? `${counts.failed} of ${counts.requests} failed` : "–");

/** What there is to say of a rollout: pairs of a word and its value. */
function facts(rollout) {
  if (!rollout.service) return [];
  return [
    ["service", `${rollout.service}, release ${rollout.before} → ${rollout.version}`],
    ["state", rollout.result || (rollout.running ? "under way" : "ended")],
    ["its share", percent(rollout.weight)],
    ["new release", failed(rollout.new)],
    ["old release", failed(rollout.old)],
    ["evidence against it", percent(rollout.doubt)],
    ["why", rollout.reason],
  ];
}

export function showRollout(rollout) {
  keep($("rollout"), facts(rollout), ([name]) => name, () => html("div", {}, html("dt"), html("dd")), (row, [name, value]) => {
    say(row.firstChild, name);
    say(row.lastChild, value);
  });
  const form = $("rollout-form");
  form.querySelector(".button").disabled = rollout.running;
  $("take-back").hidden = !(rollout.running || rollout.result === "released");
}

export function listenToRollout(act) {
  const form = $("rollout-form");
  form.onsubmit = (event) => {
    event.preventDefault();
    const wanted = { service: form.service.value, has_bug: form.has_bug.checked, at_once: form.at_once.checked };
    act(`A new release of ${wanted.service} is rolled out`, "POST", "rollout", wanted);
  };
  $("take-back").onclick = () => act("The new release is taken back", "DELETE", "rollout");
}
