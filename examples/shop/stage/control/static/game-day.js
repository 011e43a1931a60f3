// A game day: sent as a file, followed until it ends.
import { $, html, keep, say, set } from "./dom.js";

const form = $("game-day-form");

/** How a check stands: its state, and what there is to say of it. */
function standing(check) {
  if (check.hit_at_s !== undefined) return check.hit_at_s === null ? ["open", `○ no abort: ${check.name}`] : ["broken", `✕ abort: ${check.name} (${check.found})`];
  if (check.held === null) return ["open", `○ ${check.name}`];
  return check.held ? ["held", `✓ ${check.name} (${check.found})`] : ["broken", `✕ ${check.name} (${check.found})`];
}

export function showGameDay(day) {
  $("game-day").hidden = !day;
  const running = Boolean(day && !day.ended_at);
  $("game-day-stop").hidden = !running;
  form.querySelector(".button").disabled = running;
  if (!day) return;
  say($("game-day-name"), day.title);
  say($("game-day-result"), day.ended_at ? `Ended: ${day.result}` : "Under way");
  keep($("game-day-checks"), [...day.hypotheses, ...day.abort], (check) => `${check.name}/${check.wanted}`, () => html("li"), (item, check) => {
    const [is, text] = standing(check);
    set(item, "data-is", is);
    say(item, text);
  });
  keep($("game-day-told"), day.told, (line) => `${line.at_s}/${line.text}`, () => html("li"), (item, line) => say(item, `${line.at_s.toFixed(1)} s  ${line.text}`));
}

export function listenToGameDay(act) {
  form.onsubmit = async (event) => {
    event.preventDefault();
    await act("The game day begins", "POST", "gameday", { toml: await form.file.files[0].text() });
  };
  $("game-day-stop").onclick = () => act("The game day is stopped", "DELETE", "gameday");
}
