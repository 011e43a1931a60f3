// The sagas of orders: how many are under way, and one of them in lanes, with its state after each event.
import { $, ask, clock, html, keep, lasted, say, set } from "./dom.js";

const WORDS = { running: "Under way", undoing: "Being undone", parked: "Waits for a person", completed: "Done", undone: "Undone", pending: "Pending", paid: "Paid", failed: "Failed", cancelled: "Cancelled", closed: "Never begun" };
const ENDS = { done: "Done", refused: "Refused", failed: "Failed", running: "Under way" };
const told = (status) => WORDS[status] ?? status;
const shown = $("order-way");
let chosen = null;
let drawn = ""; // what is drawn of the chosen order: it is read again only when its run has moved on

function makeRun(run) {
  const button = html("button", { type: "button", class: "link" }, run.run_id);
  button.onclick = () => chooseOrder(run.run_id);
  return html("li", {}, button, html("span", { class: "quiet" }));
}

function fillRun(item, run) {
  say(item.lastElementChild, `${clock(run.began_us / 1000)} · ${told(run.status)}`);
  set(item, "data-is", run.status);
}

function makeParked(run, act) {
  const item = makeRun(run);
  const button = html("button", { type: "button", "aria-label": `Resume ${run.run_id}` }, "Resume");
  button.onclick = () => act(`${run.run_id} goes on`, "POST", `sagas/${encodeURIComponent(run.run_id)}/resume`);
  item.append(html("p", { class: "quiet" }, run.reason), button);
  return item;
}

/** Show the sagas of a state; `act` does what a button says. */
export function showSagas({ sagas, projections }, act) {
  const lags = Object.entries(projections ?? {}).map(([name, lag]) => `${name}: ${lag.behind} ${lag.behind === 1 ? "event" : "events"} behind${lag.parked ? `, ${lag.parked} put aside` : ""}`);
  say($("lag"), lags.join(", "));
  for (const count of $("saga-counts").children) say(count.lastElementChild, (sagas.counts?.[count.dataset.key] ?? 0).toLocaleString("en"));
  $("none-parked").hidden = Boolean(sagas.parked?.length);
  keep($("parked"), sagas.parked ?? [], (run) => run.run_id, (run) => makeParked(run, act));
  keep($("runs"), sagas.newest ?? [], (run) => run.run_id, makeRun, fillRun);
  const mine = (sagas.newest ?? []).filter((run) => run.run_id === chosen || run.run_id === `${chosen}-cancel`);
  const now = mine.map((run) => run.status).join();
  if (chosen && drawn && now && now !== drawn) chooseOrder(chosen);
}

/** The steps of all runs as bars: each attempt one, and each attempt to undo one. */
function barsOf(runs) {
  const bars = [];
  for (const run of runs) {
    for (const step of run.steps) {
      for (const [n, one] of step.attempts.entries()) bars.push({ ...one, step, n, undo: false, end_us: one.to_us ?? run.last_us });
      for (const [n, one] of (step.undo ?? []).entries()) bars.push({ ...one, step, n, undo: true, end_us: one.to_us ?? run.last_us });
    }
  }
  return bars;
}

function drawLanes(runs) {
  const bars = barsOf(runs);
  const from = Math.min(...bars.map((bar) => bar.from_us));
  const total = Math.max(1, ...bars.map((bar) => bar.end_us - from));
  const lanes = [...new Set(bars.map((bar) => bar.step.service))].map((service) => {
    const track = html("div", { class: "track" });
    for (const bar of bars.filter((one) => one.step.service === service)) {
      const mark = html("i", { "data-is": bar.is, "data-undo": bar.undo, title: `${bar.undo ? "undo of " : ""}${bar.step.step}: ${ENDS[bar.is]}${bar.reason ? `, ${bar.reason}` : ""}` }, `${bar.undo ? "↩ " : ""}${bar.n ? "↻ " : ""}${bar.step.step}`);
      mark.style.insetInlineStart = `${Math.min(97, ((bar.from_us - from) / total) * 100)}%`;
      mark.style.width = `${Math.max(1, Math.min(100, ((bar.end_us - bar.from_us) / total) * 100))}%`;
      track.append(mark);
    }
    return html("li", {}, html("b", {}, service), track);
  });
  return html("ol", { class: "swim", "aria-hidden": "true" }, ...lanes);
}

function stepRow(step, from) {
  const last = step.attempts.at(-1);
  const tries = step.attempts.length;
  const undo = step.undo ? `${step.undo.at(-1).is === "done" ? "Undone" : "Being undone"}${step.undo.length > 1 ? `, attempt ${step.undo.length}` : ""}` : "–";
  const took = last.to_us === null ? "–" : lasted((last.to_us - step.attempts[0].from_us) / 1000);
  const reason = last.reason || step.attempts.at(-2)?.reason || "";
  const cells = [step.service, lasted((step.attempts[0].from_us - from) / 1000), took, tries, [ENDS[last.is], step.said || reason].filter(Boolean).join(": "), undo];
  return html("tr", {}, html("th", { scope: "row" }, step.step), ...cells.map((text) => html("td", {}, String(text))));
}

function drawSteps(run) {
  const head = html("thead", {}, html("tr", {}, ...["Step", "Service", "Starts", "Takes", "Attempts", "Result", "Undo"].map((title) => html("th", { scope: "col" }, title))));
  const caption = `${run.saga.replaceAll("_", " ")}: ${told(run.status)}${run.reason ? `. ${run.reason}` : ""}`;
  const table = html("table", {}, html("caption", {}, caption), head, html("tbody", {}, ...run.steps.map((step) => stepRow(step, run.began_us))));
  return html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Steps of ${run.run_id}` }, table);
}

const money = (minor, currency) => (minor / 100).toLocaleString("en", { style: "currency", currency });
const eventWords = (name) => name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();

function drawHistory(history) {
  const slider = html("input", { type: "range", id: "event", min: 1, max: history.length, value: history.length, "aria-describedby": "event-then" });
  const then = html("p", { id: "event-then", "aria-live": "polite" });
  const show = () => {
    const row = history[slider.value - 1];
    const it = row.then;
    const pieces = it.lines.map((line) => `${line.quantity} × ${line.title}`).join(", ");
    const text = `${clock(row.at_us / 1000)}, after “${eventWords(row.event)}”: ${told(it.status)}${it.reason ? ` (${it.reason})` : ""}, ${money(it.total_minor, it.currency)}, ${pieces}`;
    say(then, text);
    set(slider, "aria-valuetext", `event ${slider.value} of ${history.length}, ${eventWords(row.event)}`);
  };
  slider.oninput = show;
  show();
  return html("div", { class: "travel" }, html("label", { for: "event" }, "The order as it was after each event"), slider, then);
}

/** Show one order: its steps in lanes, and its state after each of its events. */
export async function chooseOrder(runId) {
  const orderId = runId.trim().replace(/-cancel$/, "");
  if (orderId !== chosen) drawn = "";
  chosen = orderId;
  try {
    const order = await ask("GET", `orders/${encodeURIComponent(orderId)}`);
    if (chosen !== orderId) return;
    const title = html("h3", {}, "Order ", html("a", { href: `/orders/${encodeURIComponent(orderId)}` }, orderId));
    const runs = order.runs.filter((run) => run.steps.length);
    shown.replaceChildren(title, ...(runs.length ? [drawLanes(runs)] : []), drawHistory(order.history), ...runs.map(drawSteps));
    drawn = order.runs.map((run) => run.status).reverse().join();
  } catch (error) {
    drawn = "";
    shown.replaceChildren(html("p", { class: "empty", role: "alert" }, error.message));
  }
}

$("order-search").onsubmit = (event) => {
  event.preventDefault();
  chooseOrder($("order-id").value);
};
