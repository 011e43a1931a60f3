// The service map: a box for each service, and in it a line for each of its callers, as the traces say.
import { $, dress, figure, html, keep, lasted, say, svg } from "./dom.js";

const WIDE = { width: 580, box: 126, gap: 14, head: 26, row: 33 };
const NARROW = { width: 360, box: 300, gap: 10, head: 26, row: 18, narrow: true };
const PAD = 8;
const drawing = $("service-map");
const [lines, boxes] = ["g", "g"].map((tag) => drawing.appendChild(svg(tag)));
let layout = WIDE;

const keyOf = (call) => `${call.from}/${call.to}`;
const into = (name, calls) => calls.filter((call) => call.to === name);
const heightOf = (name, calls) => layout.head + layout.row * into(name, calls).length + PAD;

/** One column below the other, with room for the lines at the left. */
function stacked(layers, calls) {
  const found = {};
  let y = 1;
  for (const name of layers.flat()) {
    found[name] = { x: layout.width - layout.box - 1, y, height: heightOf(name, calls) };
    y += found[name].height + layout.gap;
  }
  return [found, y - layout.gap + 1];
}

/** A column for each layer, each centred. */
function sideBySide(layers, calls) {
  const tall = (names) => names.reduce((sum, name) => sum + heightOf(name, calls) + layout.gap, -layout.gap);
  const height = Math.max(...layers.map(tall));
  const found = {};
  for (const [i, names] of layers.entries()) {
    let y = 1 + (height - tall(names)) / 2;
    for (const name of names) {
      found[name] = { x: 1 + (i * (layout.width - layout.box - 2)) / (layers.length - 1), y, height: heightOf(name, calls) };
      y += found[name].height + layout.gap;
    }
  }
  return [found, height + 2];
}

const rowAt = (place, i) => place.y + layout.head + layout.row * (i + 0.5);

function course(call, places, calls) {
  const [from, to] = [places[call.from], places[call.to]];
  const [ay, by] = [from.y + layout.head / 2, rowAt(to, into(call.to, calls).indexOf(call))];
  if (layout.narrow) {
    const out = from.x - 8 - Math.min(48, Math.abs(by - ay) / 13);
    return `M${from.x} ${ay}C${out} ${ay} ${out} ${by} ${to.x} ${by}`;
  }
  const back = to.x < from.x;
  const [x1, x2] = back ? [from.x, to.x + layout.box] : [from.x + layout.box, to.x];
  const half = back ? (x1 + x2) / 2 : x2 - 22;
  return `M${x1} ${ay}C${half} ${ay} ${half} ${by} ${x2} ${by}`;
}

const stateOf = (call) => (!call.rate ? "idle" : call.error_share ? "failing" : "well");
const often = (rate) => (rate < 0.1 ? "<0.1/s" : `${figure(rate)}/s`);
const percent = (share) => `${share ? "✕ " : ""}${figure(100 * share)} %`;

function drawRow(row, call, i) {
  const [who, rate, took, failed] = row.children;
  const y = layout.head + layout.row * i + 11;
  const below = layout.narrow ? y : y + 14;
  const end = layout.box - 10;
  dress(row, { "data-is": stateOf(call) });
  dress(who, { x: 10, y });
  dress(rate, { x: layout.narrow ? 148 : end, y, "text-anchor": "end" });
  dress(took, { x: layout.narrow ? 218 : 10, y: below, "text-anchor": layout.narrow ? "end" : "start" });
  dress(failed, { x: end, y: below, "text-anchor": "end" });
  say(who, call.from);
  say(rate, call.rate ? often(call.rate) : "–");
  say(took, call.rate ? lasted(call.p95_ms) : "");
  say(failed, call.rate ? percent(call.error_share) : "");
}

const makeRow = () => svg("g", { class: "call" }, svg("text", { class: "who" }), svg("text"), svg("text"), svg("text", { class: "failed" }));

function drawBox(group, name, place, calls) {
  const [rect, title, rows] = group.children;
  dress(group, { transform: `translate(${place.x} ${place.y})` });
  dress(rect, { width: layout.box, height: place.height });
  dress(title, { x: 10, y: 18 });
  say(title, name);
  keep(rows, into(name, calls), keyOf, makeRow, drawRow);
}

/** Draw the service map of a state, and write its table. */
export function showServiceMap({ layers, calls }) {
  layout = drawing.clientWidth && drawing.clientWidth < 520 ? NARROW : WIDE;
  const [, ...shown] = layers; // visitors stand as callers in the box of the gateway
  const [places, height] = (layout.narrow ? stacked : sideBySide)(shown, calls);
  dress(drawing, { viewBox: `0 0 ${layout.width} ${Math.ceil(height)}` });
  drawing.style.aspectRatio = `${layout.width} / ${Math.ceil(height)}`;
  const drawn = calls.filter((call) => call.from in places && call.from !== call.to);
  keep(lines, drawn, keyOf, () => svg("path", { class: "wire" }), (path, call) => {
    dress(path, { d: course(call, places, calls), "data-is": stateOf(call), "stroke-width": (1.2 + 0.8 * Math.log2(1 + call.rate)).toFixed(1) });
  });
  const makeBox = () => svg("g", { class: "node" }, svg("rect", { rx: 8 }), svg("text", { class: "name" }), svg("g"));
  keep(boxes, shown.flat(), (name) => name, makeBox, (group, name) => drawBox(group, name, places[name], calls));
  keep($("traced-calls"), calls, keyOf, () => html("tr", {}, html("th", { scope: "row" }), html("td"), html("td"), html("td")), (row, call) => {
    [`${call.from} → ${call.to}`, call.rate ? often(call.rate) : 0, lasted(call.p95_ms), `${figure(100 * call.error_share)} %`].forEach((text, i) => say(row.children[i], text));
  });
}
