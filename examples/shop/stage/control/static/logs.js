// The search of log lines by the id of an order, and a link from each line to its trace.
import { $, ask, html, say } from "./dom.js";
import { choose } from "./waterfall.js";

const OWN_COLUMN = new Set(["time", "level", "service", "message", "logger", "trace_id", "span_id", "correlation_id", "notice_id", "order_id"]);
const shown = $("log-lines");

/** The time of day with milliseconds, as it stands in the line: in UTC. */
const at = (iso) => iso.slice(11, 23);

function fields(line) {
  const rest = Object.entries(line).filter(([name, value]) => !OWN_COLUMN.has(name) && value !== "" && value !== null);
  return rest.flatMap(([name, value]) => [html("span", {}, `${name.replace("notice_", "")} ${typeof value === "object" ? JSON.stringify(value) : value}`), " "]);
}

function row(line) {
  const traced = Boolean(line.trace_id);
  const event = traced ? html("button", { type: "button", class: "link", title: "Show the trace" }, line.message) : line.message;
  if (traced) event.onclick = () => choose(line.trace_id);
  return html(
    "tr",
    { "data-level": line.level },
    html("td", {}, html("time", { datetime: line.time }, at(line.time))),
    html("td", {}, line.service ?? "–"),
    html("td", {}, line.level === "info" ? "" : `${line.level}: `, event),
    html("td", {}, ...fields(line)),
  );
}

function draw(answer) {
  const services = new Set(answer.lines.map((line) => line.service).filter(Boolean));
  const more = answer.more ? "; these are the oldest of them" : "";
  say($("log-told"), `${answer.lines.length} lines of ${services.size} services${more}. Times are UTC.`);
  shown.querySelector("tbody").replaceChildren(...answer.lines.map(row));
  shown.hidden = false;
}

async function search(event) {
  event.preventDefault();
  const order = $("log-order").value.trim();
  try {
    draw(await ask("GET", `orders/${encodeURIComponent(order)}/logs`));
  } catch (error) {
    shown.hidden = true;
    say($("log-told"), error.message);
  }
}

$("log-search").addEventListener("submit", search);
