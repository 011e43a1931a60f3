// Keeps the control room up to date by server-sent events, and sends what the user does in it.
import { $, ask, clock, figure, html, keep, keepInSight, say, set, words } from "./dom.js";
import { showBudgets } from "./budgets.js";
import { drawChart } from "./chart.js";
import { listenToGameDay, showGameDay } from "./game-day.js";
import { showLetters } from "./letters.js";
import { drawMap } from "./map.js";
import { listenToRollout, showRollout } from "./rollout.js";
import { showSagas } from "./sagas.js";
import { showServiceMap } from "./service-map.js";
import { onDot, runDots, showLanes } from "./traffic.js";
import { choose, listTraces } from "./waterfall.js";

const SILENCE_MS = 4000;
const OLD_MS = 5000; // a state older than this is stamped and dimmed
const AGAIN_MS = 700;
const form = $("fault");
const targets = new Set([...form.target.options].map((option) => option.value));
let heard = Date.now();
let seenAt = null; // when the figures on the page were true
let last = null;
let closed = false; // the last scenario stays shown until the user closes it
let busy = 0; // while an answer is awaited, a state from before it must not undo what the hand did

/** Do what the user asked for; say so when the shop refuses. */
async function act(done, ...request) {
  busy += 1;
  try {
    await ask(...request);
    say($("said"), done);
    return true;
  } catch (error) {
    say($("said"), error.message);
    return false;
  } finally {
    busy -= 1;
  }
}

function showInvariants(invariants) {
  for (const item of $("invariants").children) {
    const verdict = invariants[item.dataset.key];
    if (!verdict) continue;
    if (item.dataset.holds !== String(verdict.holds)) say($("said"), `${words(item.dataset.key)} ${verdict.holds ? "holds again" : "is broken"}`);
    set(item, "data-holds", verdict.holds);
    set(item, "data-checked", verdict.checked ?? true);
    say(item.querySelector("b"), verdict.checked === false ? "not checked" : verdict.holds ? "holds" : "broken");
    say(item.querySelector(".why"), verdict.detail);
  }
}

function showOrders(orders) {
  const statuses = new Set([...[...$("orders").children].map((one) => one.dataset.key), ...Object.keys(orders)]);
  const rows = [...statuses].map((status) => [status, orders[status]?.orders ?? 0]);
  keep($("orders"), rows, ([status]) => status, ([status]) => html("div", {}, html("dt", {}, words(status)), html("dd")), (row, [, n]) => say(row.lastElementChild, n.toLocaleString("en")));
}

/** A list of facts, each a name and what is known of it. */
function showFacts(list, facts) {
  const known = Object.entries(facts).filter(([, value]) => value !== null);
  keep(list, known, ([name]) => name, ([name]) => html("div", {}, html("dt", {}, words(name)), html("dd")), (row, [, value]) => {
    say(row.lastElementChild, typeof value === "number" ? Math.round(value * 10) / 10 : words(value));
  });
}

function showDefence(card, defence) {
  set(card, "data-on", defence.on);
  set(card, "data-harmed", defence.harm.count > 0);
  if (!busy) set(card.querySelector("[role=switch]"), "aria-checked", defence.on);
  say(card.querySelector(".harm output"), defence.harm.count.toLocaleString("en"));
  say(card.querySelector(".detail"), defence.harm.detail);
  const since = card.querySelector(".since");
  say(since.firstChild, `${defence.on ? "On" : "Off"} since `);
  say(since.lastElementChild, clock(defence.since));
  showFacts(card.querySelector(".facts"), defence.state);
}

function makeFault(fault) {
  const button = html("button", { type: "button", "aria-label": `Heal ${fault.target}` }, "Heal");
  button.onclick = () => act(`${fault.target} is healed`, "DELETE", `faults/${encodeURIComponent(fault.target)}`);
  return html("li", {}, html("span"), button);
}

function showFaults(faults) {
  keep($("faults"), faults, (fault) => fault.target, makeFault, (item, fault) => {
    say(item.firstChild, `⚡ ${fault.target}: ${fault.kind}, ${fault.percent} %, ${playing() ? "until the scenario ends it" : `${Math.ceil(fault.left_s)} s left`}`);
  });
  $("heal-all").hidden = faults.length === 0;
}

/** Whether a scenario is being played: it ends its faults itself. */
const playing = () => Boolean(last?.scenario && !last.scenario.ended);

const PARTS = { with: "With the defence", without: "Without it", "with again": "With it again" };

/** The checks of a scenario under the part of the story that each belongs to. */
function grouped(expectations) {
  const rows = [];
  for (const one of expectations) {
    if (rows.at(-1)?.part !== one.part) rows.push({ part: one.part });
    rows.push(one);
  }
  return rows;
}

function showCompared(rows) {
  $("story-table").hidden = rows.length === 0;
  keep($("story-table").tBodies[0], rows, (one) => one.row, () => html("tr", {}, html("th", { scope: "row" }), html("td"), html("td")), (line, one) => {
    [one.row, one.without, one.with].forEach((text, i) => say(line.children[i], text));
  });
}

function showStory(story) {
  if (story && !story.ended) closed = false;
  $("story").hidden = !story || closed;
  $("invite").hidden = !$("story").hidden;
  for (const button of document.querySelectorAll("[data-scenario]")) set(button, "aria-pressed", Boolean(story && !story.ended && story.name === button.dataset.scenario));
  if (!story) return;
  const broken = story.expectations.some((one) => one.held === false);
  set($("story"), "data-is", !story.ended ? "running" : story.held ? "held" : "broken");
  say($("story-title"), story.title);
  say($("story-step"), story.ended ? (story.held ? "Ended: everything held" : broken ? "Ended: a check did not hold" : "Stopped before the end") : `Step ${story.step} of ${story.steps}`);
  say($("story-caption"), story.caption);
  say($("story-stop"), story.ended ? "Close" : "Stop");
  $("story-progress").value = Math.min(1, story.elapsed_s / story.takes_s);
  showCompared(story.table);
  keep($("expectations"), grouped(story.expectations), (one) => `${one.part}/${one.text}`, () => html("li"), (item, one) => {
    if (!one.text) {
      set(item, "data-is", "part");
      return say(item, PARTS[one.part]);
    }
    const [mark, held] = one.excused ? ["?", "excused"] : one.held === null ? ["○", "open"] : one.held ? ["✓", "held"] : ["✕", "broken"];
    set(item, "data-is", held);
    const told = one.found || { broken: "does not hold" }[held];
    say(item, `${mark} ${one.text}${told ? `: ${told}` : ""}${held === "excused" ? " (not judged)" : ""}`);
  });
}

function row(cells) {
  return html("tr", {}, html("th", { scope: "row" }), ...cells.slice(1).map(() => html("td")));
}

function showTable(body, items, keyOf, cellsOf) {
  keep(body, items, keyOf, (item) => row(cellsOf(item)), (line, item) => cellsOf(item).forEach((text, i) => say(line.children[i], text)));
}

function showTables(state) {
  showTable($("services"), state.services, (one) => `${one.name}/${one.replica}`, (one) => [`${one.name} ${one.replica}${one.version > 1 ? `, release ${one.version}` : ""}`, one.live ? "live" : "down", figure(one.rate), figure(one.failing), `${figure(one.p95_ms ?? 0)} ms`]);
  showTable($("edges"), state.edges, (one) => `${one.from}/${one.to}`, (one) => [`${one.from} → ${one.to}`, figure(one.rate), figure(one.failing), figure(one.retries), words(one.breaker ?? "–")]);
}

function show(state) {
  last = state;
  seenAt = state.age_s === null ? null : Date.now() - state.age_s * 1000;
  const cards = [...document.querySelectorAll("[data-defence]")];
  // The cards are written by the server: for a defence that it did not know then, load the page again.
  if (Object.keys(state.defences).some((name) => !cards.some((card) => card.dataset.defence === name))) return location.reload();
  showInvariants(state.invariants);
  showOrders(state.orders);
  for (const card of cards) showDefence(card, state.defences[card.dataset.defence]);
  showFacts($("election"), state.election.facts ?? {});
  showFaults(state.faults);
  showLetters(state, act);
  showSagas(state, act);
  showRollout(state.rollout);
  showGameDay(state.game_day);
  showStory(state.scenario);
  showTables(state);
  showBudgets(state.budgets);
  showServiceMap(state.service_map);
  showLanes(state.lanes);
  if (!busy && document.activeElement !== $("visitors")) {
    $("visitors").value = state.load.visitors;
    say($("visitors-now"), state.load.visitors);
  }
  drawChart(state.history);
  drawMap(state, targets, pick);
  watchLine();
}

/** A box on the map was chosen: the form stands ready to break it. */
function pick(name) {
  form.target.value = name;
  showKinds();
  form.kind.focus();
}

function showKinds() {
  const possible = form.target.selectedOptions[0].dataset.kinds.split(" ");
  for (const option of form.kind.options) option.hidden = option.disabled = !possible.includes(option.value);
  if (form.kind.selectedOptions[0]?.disabled) form.kind.value = possible[0];
}

function listen() {
  const stream = new EventSource("/control/live");
  const hear = (what) => (event) => {
    heard = Date.now();
    what(JSON.parse(event.data));
  };
  stream.addEventListener("state", hear((state) => keepInSight(() => show(state))));
  stream.addEventListener("dots", hear(({ dots, lanes }) => {
    if (document.body.dataset.old !== "true") runDots(dots);
    showLanes(lanes);
  }));
  // The server ends each stream after a while; a browser would wait for seconds, or give up on a 502.
  stream.onerror = () => {
    stream.close();
    setTimeout(listen, AGAIN_MS);
  };
}

function watchLine() {
  const lost = Date.now() - heard > SILENCE_MS;
  const age = seenAt === null ? null : Date.now() - seenAt;
  const old = lost || age === null || age > OLD_MS;
  const stamp = age === null ? "no figures yet" : `as of ${Math.round(age / 1000)} s ago`;
  set($("line"), "data-is", lost ? "lost" : old ? "old" : "live");
  say($("line"), lost ? `connection lost, trying again; ${stamp}` : old ? `the shop is busy; ${stamp}` : "live");
  set(document.body, "data-old", old);
}

for (const card of document.querySelectorAll("[data-defence]")) {
  const button = card.querySelector("[role=switch]");
  button.onclick = async () => {
    const on = button.getAttribute("aria-checked") !== "true";
    set(button, "aria-checked", on);
    const title = card.querySelector("h3").textContent;
    if (!(await act(`${title} is ${on ? "on" : "off"}`, "PUT", `switches/${card.dataset.defence}`, { on }))) set(button, "aria-checked", !on);
  };
}

let turning;
$("visitors").oninput = () => {
  say($("visitors-now"), $("visitors").value);
  clearTimeout(turning);
  turning = setTimeout(() => act(`${$("visitors").value} visitors`, "PUT", "load", { visitors: Number($("visitors").value) }), 150);
};

form.target.onchange = showKinds;
form.onsubmit = (event) => {
  event.preventDefault();
  const fault = Object.fromEntries(new FormData(form));
  for (const name of ["percent", "ttl_s", "seed"]) fault[name] = Number(fault[name]);
  act(`${fault.target} is broken for ${fault.ttl_s} s`, "PUT", "fault", fault);
};
listenToRollout(act);
listenToGameDay(act);
$("run-night").onclick = () => act("The night begins: the leader pays the sellers", "POST", "nights", {});
$("heal-all").onclick = () => act("Everything is healed", "DELETE", "fault");
for (const button of document.querySelectorAll("[data-scenario]")) {
  button.onclick = async () => {
    if (await act("The scenario begins", "POST", `scenarios/${encodeURIComponent(button.dataset.scenario)}`, { pace: 1 })) scrollTo({ top: 0 });
  };
}
$("story-stop").onclick = async () => {
  closed = last?.scenario?.ended ?? false;
  if (closed) $("story").hidden = true;
  else act("The scenario is stopped", "DELETE", "scenarios");
};
document.querySelector("a[href='#everything']").onclick = () => ($("everything").open = true);

showKinds();
show(JSON.parse($("first-state").textContent));
onDot(choose);
listen();
setInterval(watchLine, 1000);
setInterval(() => listTraces().catch(() => {}), 2000);
listTraces().catch(() => {});
addEventListener("resize", () => {
  drawMap(last, targets, pick);
  showServiceMap(last.service_map);
});
