// p95 and failed answers over time: a line, bars below it, and marks for what was done to the shop.
import { $, dress, html, keep, lasted, say, svg } from "./dom.js";

const [WIDTH, HEIGHT, FOOT] = [600, 96, 118];
const ROW = 5; // points in a row of the table: ten seconds
const chart = $("chart");
const [grid, bars, line, marks] = ["g", "g", "path", "g"].map((tag) => chart.appendChild(svg(tag)));
dress(line, { class: "p95" });
const top = dress(grid.appendChild(svg("text")), { x: 4, y: 11 });
dress(grid.appendChild(svg("path")), { d: `M0 ${HEIGHT}H${WIDTH}`, class: "axis" });

/** A scale that does not jump with each answer: the next of 100 ms, 250 ms, 500 ms, 1 s, 2.5 s and so on. */
function scaleOf(points) {
  const most = Math.max(...points.map((point) => point.p95_ms ?? 0));
  return [100, 250, 500, 1000, 2500, 5000, 10_000, 25_000].find((step) => step >= most) ?? 60_000;
}

function courseOf(points, scale) {
  const x = (i) => ((i + 0.5) * WIDTH) / points.length;
  let pen = "M";
  return points
    .map((point, i) => {
      if (point.p95_ms === null) {
        pen = "M";
        return "";
      }
      const drawn = `${pen}${x(i).toFixed(1)} ${(HEIGHT - (point.p95_ms / scale) * (HEIGHT - 14)).toFixed(1)}h.1`;
      pen = "L";
      return drawn;
    })
    .join("");
}

/** Draw the history of a state. */
export function drawChart({ points, marks: noted, step_s }) {
  const scale = scaleOf(points);
  const wide = WIDTH / points.length;
  dress(line, { d: courseOf(points, scale) });
  say(top, scale < 1000 ? `${scale} ms` : `${scale / 1000} s`);
  const failures = points.map((point, i) => ({ i, failed: point.failed })).filter((one) => one.failed);
  keep(bars, failures, (one) => one.i, () => svg("rect", { class: "failures" }), (bar, one) => {
    const height = Math.min(18, 3 + one.failed);
    dress(bar, { x: one.i * wide, width: wide - 1, y: FOOT - height, height });
  });
  const span = points.length * step_s;
  keep(marks, noted, (mark) => noted.indexOf(mark), () => svg("g", {}, svg("path"), svg("text")), (group, mark, i) => {
    const x = WIDTH * (1 - mark.ago_s / span);
    dress(group.firstChild, { d: `M${x} 0V${FOOT}`, class: "mark" });
    dress(group.lastChild, { x: x > WIDTH - 110 ? x - 4 : x + 4, y: 11 + 12 * (i % 3), "text-anchor": x > WIDTH - 110 ? "end" : "start" });
    say(group.lastChild, mark.text);
  });
  const now = points.slice(-15);
  const failed = now.reduce((sum, point) => sum + point.failed, 0);
  const slowest = Math.max(...now.map((point) => point.p95_ms ?? 0));
  say($("chart-says"), `Last 30 s: p95 up to ${lasted(slowest)}, ${failed} failed.`);
  const rows = Array.from({ length: 6 }, (_, i) => points.slice(points.length - (i + 1) * ROW, points.length - i * ROW));
  keep($("chart-rows"), rows, (_row) => rows.indexOf(_row), () => html("tr", {}, html("th", { scope: "row" }), html("td"), html("td"), html("td")), (tr, row, i) => {
    const sum = (name) => row.reduce((total, point) => total + point[name], 0);
    const cells = [`${i * ROW * step_s}–${(i + 1) * ROW * step_s}`, sum("answered"), sum("failed"), lasted(Math.max(...row.map((point) => point.p95_ms ?? 0)))];
    cells.forEach((text, at) => say(tr.children[at], text));
  });
}
