// The live map: boxes for services, lines for calls. Shape and words say what colour says.
import { $, figure, keep, lasted, say, set, svg, words } from "./dom.js";

const WIDE = {
  size: [660, 440], box: [122, 50], middle: 292, bulge: 34, terse: false, outside: [468, 172, 178, 92],
  at: {
    visitors: [75, 70], gateway: [75, 220], control: [75, 370],
    catalog: [292, 40], reviews: [292, 130], cart: [292, 220], inventory: [292, 310], ordering: [292, 400],
    payments: [557, 400], psp: [557, 226],
  },
};
const NARROW = {
  size: [360, 470], box: [92, 50], middle: 180, bulge: 12, terse: true, outside: [262, 186, 96, 84],
  at: {
    visitors: [52, 80], gateway: [52, 235], control: [52, 430],
    catalog: [180, 50], reviews: [180, 145], cart: [180, 240], inventory: [180, 335], ordering: [180, 430],
    payments: [310, 430], psp: [310, 234],
  },
};
const OUTSIDE = new Set(["visitors", "psp"]);
const map = $("map");
const zone = svg("rect", { class: "zone", rx: 12 });
const lines = svg("g");
const boxes = svg("g");
const labels = svg("g");
map.append(zone, lines, boxes, labels);

function path(layout, from, to) {
  const [ax, ay] = layout.at[from];
  const [bx, by] = layout.at[to];
  const [w, h] = layout.box;
  if (ax === bx && ax === layout.middle) {
    const x = ax + w / 2;
    const out = x + layout.bulge + Math.abs(by - ay) / 12;
    const step = Math.sign(by - ay) * 10;
    return { d: `M${x} ${ay + step}C${out} ${ay + step} ${out} ${by - step} ${x} ${by - step}`, label: [out - 4, (ay + by) / 2 - 4, "start"] };
  }
  if (ax === bx) {
    const side = by > ay ? 10 : -10;
    const edge = Math.sign(by - ay) * (h / 2);
    const far = layout.terse ? [ax, (ay + by) / 2 + side, "middle"] : [ax + side * 1.6, (ay + by) / 2 + 4, side > 0 ? "start" : "end"];
    return { d: `M${ax + side} ${ay + edge}L${bx + side} ${by - edge}`, middle: [ax + side, (ay + by) / 2], label: far };
  }
  const way = Math.sign(bx - ax);
  const [x1, x2] = [ax + (way * w) / 2, bx - (way * w) / 2];
  const half = (x1 + x2) / 2;
  const label = ay === by ? [half, ay - 9, "middle"] : [x2 - way * 7, by + (ay > by ? -8 : 17), way > 0 ? "end" : "start"];
  return { d: `M${x1} ${ay}C${half} ${ay} ${half} ${by} ${x2} ${by}`, middle: [half, (ay + by) / 2], label };
}

const troubleOf = (edge) => (edge.breaker === "open" ? "open" : edge.failing > 0 ? "failing" : edge.retries > 0 ? "retries" : "well");
const speedOf = (rate) => (rate <= 0 ? 0 : rate < 2 ? 1 : rate < 10 ? 2 : 3);

function drawLine(group, edge, layout) {
  const { d } = path(layout, edge.from, edge.to);
  const trouble = troubleOf(edge);
  set(group, "data-is", trouble);
  for (const line of group.children) set(line, "d", d);
  set(group.firstChild, "stroke-width", Math.min(9, 1.5 + 1.6 * Math.log2(1 + edge.rate)).toFixed(1));
  set(group.lastChild, "data-speed", trouble === "open" ? 0 : speedOf(edge.rate));
}

const makeLine = () => svg("g", { class: "edge" }, svg("path"), svg("path", { class: "flow" }));
const makeLabel = () => svg("g", { class: "told" }, svg("text", {}, svg("tspan"), svg("tspan", { class: "failing" }), svg("tspan", { class: "retries" })));

/** The breaker is drawn as what it is: a lever between two contacts. */
function drawLever(group, edge, at) {
  let lever = group.querySelector(".lever");
  if (!edge.breaker || !at) return lever?.remove();
  if (!lever) {
    lever = svg("g", { class: "lever" }, svg("circle", { r: 17 }), svg("line", { y1: -9, y2: 9 }), svg("circle", { r: 3, cy: -9 }), svg("circle", { r: 3, cy: 9 }), svg("text", { x: -24, y: 4 }));
    group.append(lever);
  }
  set(lever, "transform", `translate(${at[0]} ${at[1]})`);
  set(lever, "data-is", edge.breaker);
  say(lever.lastChild, words(edge.breaker));
}

function drawLabel(group, edge, layout) {
  const { label, middle } = path(layout, edge.from, edge.to);
  const [x, y, anchor] = label;
  const [rate, failing, retries] = group.firstChild.children;
  set(group.firstChild, "transform", `translate(${x} ${edge.breaker && middle ? y - 34 : y})`);
  set(group.firstChild, "text-anchor", anchor);
  say(rate, edge.rate > 0 && !layout.terse ? `${figure(edge.rate)}/s` : "");
  say(failing, edge.failing > 0 ? ` ✕${figure(edge.failing)}` : "");
  say(retries, edge.retries > 0 ? ` ↻${figure(edge.retries)}` : "");
  drawLever(group, edge, middle);
}

function makeBox(service) {
  return svg("g", { class: "box" }, svg("title"), svg("rect", { rx: 9 }), svg("text", { class: "name" }), svg("text", { class: "rate" }), svg("g", { class: "replicas" }), svg("text", { class: "fault" }));
}

function drawBox(group, service, layout, fault) {
  const [title, rect, name, rate, replicas, badge] = group.children;
  const [w, h] = layout.box;
  const down = service.replicas.filter((replica) => !replica.live).length;
  const is = down === service.replicas.length && down ? "down" : fault ? "fault" : service.failing > 0 ? "failing" : "well";
  set(group, "transform", `translate(${layout.at[service.name].join(" ")})`);
  set(group, "data-is", is);
  set(group, "data-outside", OUTSIDE.has(service.name));
  for (const [key, value] of Object.entries({ x: -w / 2, y: -h / 2, width: w, height: h })) set(rect, key, value);
  for (const text of [name, rate]) set(text, "x", 10 - w / 2);
  set(name, "y", -4);
  set(rate, "y", 14);
  say(name, service.name);
  const alone = service.name === "visitors" || layout.terse;
  const figures = service.name === "visitors" ? `${service.count} inside` : is === "down" ? "✕ down" : `${figure(service.rate)}/s`;
  say(rate, figures + (alone || is === "down" || !service.rate ? "" : ` · ${lasted(service.p95_ms)}`));
  set(badge, "y", -h / 2 - 6);
  say(badge, fault ? `⚡ ${fault.kind} ${fault.percent} % · ${Math.ceil(fault.left_s)} s` : "");
  keep(replicas, service.replicas.length > 1 ? service.replicas : [], (one) => one.replica, () => svg("rect", { width: 7, height: 7, y: -14 }), (square, one) => {
    set(square, "data-live", one.live);
    set(square, "x", w / 2 - 12 - 10 * service.replicas.indexOf(one));
  });
  say(title, `${service.name}: ${figures}, ${figure(service.failing)} failing a second, ${service.replicas.length - down} of ${service.replicas.length} replicas live`);
}

function byService(state) {
  const found = new Map();
  for (const one of state.services) {
    const service = found.get(one.name) ?? { name: one.name, rate: 0, failing: 0, p95_ms: 0, replicas: [] };
    service.rate += one.rate;
    service.failing += one.failing;
    service.p95_ms = Math.max(service.p95_ms, one.p95_ms ?? 0);
    service.replicas.push(one);
    found.set(one.name, service);
  }
  const gateway = found.get("gateway") ?? { rate: 0, failing: 0 };
  found.set("visitors", { ...gateway, name: "visitors", count: state.load.visitors, failing: 0, replicas: [] });
  return [...found.values()];
}

/** Draw a state; a click on a box that can be broken gives its name to `pick`. */
export function drawMap(state, targets, pick) {
  const layout = map.clientWidth && map.clientWidth < 520 ? NARROW : WIDE;
  const services = byService(state).filter((service) => layout.at[service.name]);
  const drawn = new Set(services.map((service) => service.name));
  const gateway = services.find((service) => service.name === "visitors");
  const edges = [{ from: "visitors", to: "gateway", rate: gateway.rate, failing: 0, retries: 0, breaker: null }, ...state.edges].filter(
    (edge) => drawn.has(edge.from) && drawn.has(edge.to) && edge.from !== "control" && edge.to !== "control",
  );
  set(map, "viewBox", `0 0 ${layout.size.join(" ")}`);
  set(map, "data-terse", layout.terse);
  ["x", "y", "width", "height"].forEach((name, i) => set(zone, name, layout.outside[i]));
  const keyOf = (edge) => `${edge.from}/${edge.to}`;
  keep(lines, edges, keyOf, makeLine, (group, edge) => drawLine(group, edge, layout));
  keep(labels, edges, keyOf, makeLabel, (group, edge) => drawLabel(group, edge, layout));
  const faults = new Map(state.faults.map((fault) => [fault.target, fault]));
  keep(boxes, services, (service) => service.name, makeBox, (group, service) => {
    drawBox(group, service, layout, faults.get(service.name));
    if (!targets.has(service.name) || group.onclick) return;
    set(group, "role", "button");
    set(group, "tabindex", 0);
    set(group, "aria-label", `Break ${service.name}`);
    group.onclick = () => pick(service.name);
    group.onkeydown = (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      pick(service.name);
    };
  });
}
