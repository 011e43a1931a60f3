// Recent traces, and the chosen one as a waterfall: a row for each span.
import { $, ask, clock, figure, html, keep, lasted, set } from "./dom.js";

const LISTED = 50;
const list = $("traces");
const shown = $("waterfall");
let chosen = null;

const spans = (n) => (n === 1 ? "1 span" : `${n} spans`);

function makeRecent(trace) {
  const name = html("span", { class: "name" }, trace.failed ? "✕ " : "", trace.name);
  const told = html("span", { class: "quiet" }, `${clock(trace.started_at)} · ${spans(trace.spans)}`);
  const button = html("button", { type: "button", "data-failed": trace.failed }, name, html("b", {}, lasted(trace.duration_ms)), told);
  button.onclick = () => choose(trace.trace_id);
  return html("li", {}, button);
}

/** Read the newest traces, unless the user is in the list or has stopped following. */
export async function listTraces() {
  if (document.hidden || !$("follow").checked || list.matches(":hover, :focus-within")) return;
  const traces = await ask("GET", `traces?limit=${LISTED}`);
  const wanted = $("failed-only").checked ? traces.filter((trace) => trace.failed) : traces;
  keep(list, wanted, (trace) => `${trace.trace_id}/${trace.spans}`, makeRecent);
  markChosen();
}

function markChosen() {
  for (const item of list.children) set(item.firstChild, "aria-current", item.dataset.key.startsWith(`${chosen}/`) ? "true" : null);
}

const facts = (pairs) => html("dl", { class: "facts" }, ...pairs.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, String(value)))));

function more(row) {
  const parts = [facts([["span", row.span_id], ...Object.entries(row.attributes)])];
  for (const event of row.events) parts.push(html("h4", {}, `${event.name} at ${lasted(event.offset_ms)}`), facts(Object.entries(event.attributes)));
  if (row.links?.length) parts.push(html("p", {}, `Linked with ${row.links.map((link) => (typeof link === "string" ? link : JSON.stringify(link))).join(", ")}`));
  return parts;
}

function spanRows(row, total) {
  const marks = row.failed ? [html("span", { class: "failed" }, "✕ failed")] : [];
  const button = html("button", { type: "button", class: "link", "aria-expanded": "false" }, row.name);
  const name = html("th", { scope: "row", class: row.critical ? "critical" : "" }, button, ...marks);
  if (row.critical) set(name, "title", "On the critical path: the request lasted as long as these spans");
  name.style.paddingInlineStart = `${Math.min(8, row.depth) * 0.9 + 0.4}rem`;
  const bar = html("i", { "data-failed": row.failed, "data-critical": row.critical });
  bar.style.insetInlineStart = `${Math.min(99, (row.offset_ms / total) * 100)}%`;
  bar.style.width = `${Math.max(0.6, Math.min(100, (row.duration_ms / total) * 100))}%`;
  const cells = html("tr", {}, name, html("td", {}, row.service), html("td", {}, lasted(row.offset_ms)), html("td", {}, lasted(row.duration_ms)), html("td", { class: "bar" }, html("div", {}, bar)));
  const beneath = html("tr", { class: "more", hidden: true }, html("td", { colspan: 5 }));
  button.onclick = () => {
    beneath.hidden = !beneath.hidden;
    set(button, "aria-expanded", !beneath.hidden);
    if (!beneath.hidden) beneath.firstChild.replaceChildren(...more(row));
  };
  return [cells, beneath];
}

function drawWaterfall(trace) {
  const total = Math.max(trace.duration_ms, 0.001);
  const failed = trace.rows.filter((row) => row.failed).length;
  const caption = `Trace ${trace.trace_id.slice(0, 8)}…: ${spans(trace.rows.length)} in ${lasted(trace.duration_ms)}${failed ? `, ${figure(failed)} failed` : ""}`;
  const head = html("thead", {}, html("tr", {}, ...["Span", "Service", "Starts", "Takes", "Timeline"].map((title) => html("th", { scope: "col" }, title))));
  shown.replaceChildren(html("table", {}, html("caption", {}, caption), head, html("tbody", {}, ...trace.rows.flatMap((row) => spanRows(row, total)))));
}

/** Show a trace, and keep it in the address, so that it can be handed on. */
export async function choose(traceId) {
  chosen = traceId;
  history.replaceState(null, "", `#trace=${traceId}`);
  markChosen();
  try {
    drawWaterfall(await ask("GET", `traces/${encodeURIComponent(traceId)}`));
  } catch (error) {
    shown.replaceChildren(html("p", { class: "empty" }, error.message));
  }
  shown.scrollIntoView({ block: "nearest" });
}

const named = /^#trace=([0-9a-f]{32})$/.exec(location.hash);
if (named) choose(named[1]);
$("failed-only").onchange = $("follow").onchange = listTraces;
