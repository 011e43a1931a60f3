// The live map: boxes for services, lines for calls. Shape and words say what colour says.
import { $, dress, figure, keep, lasted, say, svg, words } from "./dom.js";

const WIDE = { size: [660, 580], box: [122, 50], columns: [75, 292, 557, 425], top: 40, step: 82, bulge: 34, outside: [8, 500, 644, 76] };
const NARROW = { size: [360, 670], box: [92, 50], columns: [52, 180, 310, 310], top: 50, step: 84, bulge: 12, terse: true, outside: [2, 522, 356, 144] };
const PLACES = { // column and row
  visitors: [0, 0.3], gateway: [0, 2], control: [0, 4],
  catalog: [1, 0], reviews: [1, 1], cart: [1, 2], inventory: [1, 3], ordering: [1, 4], fulfilment: [1, 5],
  payments: [2, 4], psp: [2, 6], mail: [0, 6], carrier: [1, 6], sellers: [3, 6],
};
NARROW.places = { ...PLACES, sellers: [0, 6.85] };
// Which service calls which, drawn also while there are no calls.
const WIRES = "visitors/gateway gateway/catalog gateway/reviews gateway/cart gateway/inventory gateway/ordering ordering/cart ordering/inventory ordering/payments ordering/fulfilment cart/catalog payments/psp psp/payments fulfilment/mail fulfilment/carrier fulfilment/sellers".split(" ");
const OUTSIDE = ["visitors", "psp", "mail", "carrier", "sellers"];
const REPLICAS_MAX = 5;
const map = $("map");
const [zone, lines, boxes, labels] = ["rect", "g", "g", "g"].map((tag) => map.appendChild(svg(tag)));
let layout = WIDE;

const place = (name) => (layout.places ?? PLACES)[name];
const at = (name) => [layout.columns[place(name)[0]], layout.top + place(name)[1] * layout.step];

/** How a line runs, where its breaker stands, where its label is. */
function course({ from, to }) {
  const [[ax, ay], [bx, by], [w, h]] = [at(from), at(to), layout.box];
  const down = Math.sign(by - ay);
  const between = (ay + by) / 2;
  if (ax === bx && PLACES[from][0] === 1 && !OUTSIDE.includes(to)) {
    const x = ax + w / 2;
    const out = x + layout.bulge + Math.abs(by - ay) / 12;
    return { d: `M${x} ${ay + 10 * down}C${out} ${ay + 10 * down} ${out} ${by - 10 * down} ${x} ${by - 10 * down}`, label: [out - 4, between - 4, "start"] };
  }
  if (ax === bx) {
    const x = ax + 10 * down; // there and back stand side by side
    const label = layout.terse ? [x, between + 34 * down, "middle"] : [x + 8 * down, between + 4, down > 0 ? "start" : "end"];
    return { d: `M${x} ${ay + (down * h) / 2}L${x} ${by - (down * h) / 2}`, middle: [x, between], label };
  }
  const way = Math.sign(bx - ax);
  const [x1, x2] = [ax + (way * w) / 2, bx - (way * w) / 2];
  const half = (x1 + x2) / 2;
  const label = down ? [x2 - way * 7, by + (down < 0 ? -8 : 17), way > 0 ? "end" : "start"] : [half, ay - 9, "middle"];
  return { d: `M${x1} ${ay}C${half} ${ay} ${half} ${by} ${x2} ${by}`, middle: [half, between], label };
}

const makeLine = () => svg("g", { class: "edge" }, svg("path"), svg("path", { class: "flow" }));

function drawLine(group, edge) {
  const { d } = course(edge);
  const trouble = edge.breaker === "open" ? "open" : edge.failing > 0 ? "failing" : edge.retries > 0 ? "retries" : "well";
  dress(group, { "data-is": trouble });
  dress(group.firstChild, { d, "stroke-width": Math.min(9, 1.5 + 1.6 * Math.log2(1 + edge.rate)).toFixed(1) });
  dress(group.lastChild, { d, "data-speed": trouble === "open" || !edge.rate ? 0 : edge.rate < 2 ? 1 : edge.rate < 10 ? 2 : 3 });
}

const makeLabel = () => svg("g", { class: "told" }, svg("text", {}, ...["rate", "failing", "retries"].map((name) => svg("tspan", { class: name }))));

/** The breaker is drawn as what it is: a lever between two contacts. */
const makeLever = () => svg("g", { class: "lever" }, svg("circle", { r: 17 }), svg("line", { y1: -9, y2: 9 }), svg("circle", { r: 3, cy: -9 }), svg("circle", { r: 3, cy: 9 }), svg("text", { x: -24, y: 4 }));

function drawLabel(group, edge) {
  const { label, middle } = course(edge);
  const [x, y, anchor] = label;
  const lever = edge.breaker && middle;
  dress(group.firstChild, { transform: `translate(${x} ${lever && !layout.terse ? y - 32 : y})`, "text-anchor": anchor });
  const [rate, failing, retries] = group.firstChild.children;
  say(rate, edge.rate > 0 && !layout.terse ? `${figure(edge.rate)}/s` : "");
  say(failing, edge.failing > 0 ? ` ✕${figure(edge.failing)}` : "");
  say(retries, edge.retries > 0 ? ` ↻${figure(edge.retries)}` : "");
  if (!lever) return group.querySelector(".lever")?.remove();
  const drawn = group.querySelector(".lever") ?? group.appendChild(makeLever());
  dress(drawn, { transform: `translate(${middle.join(" ")})`, "data-is": edge.breaker });
  say(drawn.lastChild, words(edge.breaker));
}

const makeBox = () => svg("g", { class: "box" }, svg("title"), svg("rect", { rx: 9 }), svg("text", { class: "name", y: -4 }), svg("text", { class: "rate", y: 14 }), svg("g", { class: "replicas" }), svg("text", { class: "fault" }));

function drawBox(group, service, fault) {
  const [title, rect, name, rate, squares, badge] = group.children;
  const [w, h] = layout.box;
  const live = service.replicas.filter((replica) => replica.live).length;
  const is = service.replicas.length && !live ? "down" : fault ? "fault" : service.failing > 0 ? "failing" : "well";
  dress(group, { transform: `translate(${at(service.name).join(" ")})`, "data-is": is, "data-outside": OUTSIDE.includes(service.name) });
  dress(rect, { x: -w / 2, y: -h / 2, width: w, height: h });
  dress(name, { x: 10 - w / 2 });
  dress(rate, { x: 10 - w / 2 });
  dress(badge, { y: -h / 2 - 6 });
  say(name, service.name);
  const figures = service.visitors === undefined ? `${figure(service.rate)}/s` : `${service.visitors} inside`;
  const took = layout.terse || !service.p95_ms ? "" : ` · ${lasted(service.p95_ms)}`;
  say(rate, is === "down" ? "✕ down" : figures + took);
  say(badge, fault ? `⚡ ${fault.kind} ${fault.percent} %${layout.terse || fault.scripted ? "" : ` · ${Math.ceil(fault.left_s)} s`}` : "");
  const oldest = Math.min(...service.replicas.map((replica) => replica.version ?? 1));
  const newer = service.replicas.filter((replica) => replica.version > oldest).length;
  const several = service.replicas.length > 1 ? service.replicas.slice(0, REPLICAS_MAX) : [];
  keep(squares, several, (one) => one.replica, () => svg("rect", { width: 7, height: 7 }), (square, one, i) => {
    dress(square, { "data-live": one.live, "data-new": one.version > oldest, x: w / 2 - 14 - 10 * i, y: layout.terse ? 8 : -14 });
  });
  say(title, `${service.name}: ${figures}, ${figure(service.failing)} failing a second${service.replicas.length ? `, ${live} of ${service.replicas.length} live` : ""}${newer ? `, ${newer} of a new release` : ""}${group.onclick ? "; break it" : ""}`);
}

function byService(state) {
  const found = {};
  for (const one of state.services) {
    const service = (found[one.name] ??= { name: one.name, rate: 0, failing: 0, p95_ms: 0, replicas: [] });
    service.rate += one.rate;
    service.failing += one.failing;
    service.p95_ms = Math.max(service.p95_ms, one.p95_ms ?? 0);
    service.replicas.push(one);
  }
  found.visitors = { name: "visitors", visitors: state.load.visitors, rate: found.gateway?.rate ?? 0, failing: 0, replicas: [] };
  return Object.values(found).filter((service) => service.name in PLACES && !(layout.terse && service.name === "control"));
}

const keyOf = (edge) => `${edge.from}/${edge.to}`;

/** The calls of the moment among the wires. The control room's own calls to all services are left out: the tables have them. */
function calls(state, visitors, names) {
  const edges = Object.fromEntries(WIRES.map((key) => [key, { from: key.split("/")[0], to: key.split("/")[1], rate: 0, failing: 0, retries: 0, breaker: null }]));
  edges["visitors/gateway"].rate = visitors.rate;
  for (const edge of state.edges) if (edge.from !== "control" && edge.to !== "control") edges[keyOf(edge)] = edge;
  const { breaker } = state.defences;
  if (breaker) edges["payments/psp"].breaker = breaker.on ? breaker.state.state : "off";
  return Object.values(edges).filter((edge) => names.includes(edge.from) && names.includes(edge.to));
}

function breakable(group, name, pick) {
  dress(group, { role: "button", tabindex: 0 });
  group.onclick = () => pick(name);
  group.onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    pick(name);
  };
}

/** Draw a state; a click on a box that can be broken gives its name to `pick`. */
export function drawMap(state, targets, pick) {
  layout = map.clientWidth && map.clientWidth < 520 ? NARROW : WIDE;
  const services = byService(state);
  const names = services.map((service) => service.name);
  const edges = calls(state, services.at(-1), names);
  dress(map, { viewBox: `0 0 ${layout.size.join(" ")}` });
  const [x, y, width, height] = layout.outside;
  dress(zone, { class: "zone", rx: 12, x, y, width, height });
  keep(lines, edges, keyOf, makeLine, drawLine);
  keep(labels, edges, keyOf, makeLabel, drawLabel);
  keep(boxes, services, (service) => service.name, makeBox, (group, service) => {
    if (targets.has(service.name) && !group.onclick) breakable(group, service.name, pick);
    const fault = state.faults.find((one) => one.target === service.name);
    drawBox(group, service, fault && { ...fault, scripted: Boolean(state.scenario && !state.scenario.ended) });
  });
}
