// A dot for each request: it runs along the lane of its kind, or drops at the gateway's door.
import { $, html, keep } from "./dom.js";

const DOTS_MAX = 400;
const DOOR = 0.34; // how far along the lane the gateway stands
const still = matchMedia("(prefers-reduced-motion: reduce)");
const lanes = $("lanes");
const canvas = $("dots");
const pen = canvas.getContext("2d");
const kinds = [...lanes.children].map((lane) => lane.dataset.key);
const dots = [];
let drawing = false;

const outcomeOf = (status) => (status >= 500 ? "failed" : status >= 400 ? "refused" : "ok");

/** Where a dot is `now`: x along the lane, y below it, how faded; null when it is gone. */
function where(dot, now) {
  const age = now - dot.from;
  if (age < 0) return { x: 0, y: 0, seen: 0 };
  const reached = Math.min(1, age / 420) * DOOR;
  if (reached < DOOR) return { x: reached, y: 0, seen: 1 };
  const stop = { ok: 1, failed: 0.86, refused: DOOR }[dot.outcome];
  const run = dot.outcome === "refused" ? 0 : Math.min(2600, 450 + dot.ms);
  const gone = (age - 420) / (run || 1);
  if (run && gone < 1) return { x: DOOR + (stop - DOOR) * gone, y: 0, seen: 1 };
  const after = (age - 420 - run) / (dot.outcome === "ok" ? 200 : 900);
  if (after > 1) return null;
  return { x: stop - (dot.outcome === "refused" ? 0.04 * after : 0), y: dot.outcome === "ok" ? 0 : 34 * after * after, seen: 1 - after };
}

function mark(dot, x, y, colour) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.beginPath();
  if (dot.outcome === "failed") {
    pen.moveTo(x - 4, y - 4);
    pen.lineTo(x + 4, y + 4);
    pen.moveTo(x + 4, y - 4);
    pen.lineTo(x - 4, y + 4);
    return pen.stroke();
  }
  pen.arc(x, y, 4, 0, 7);
  return dot.outcome === "ok" ? pen.fill() : pen.stroke();
}

function draw() {
  const box = canvas.getBoundingClientRect();
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(box.width * scale)) canvas.width = Math.round(box.width * scale);
  if (canvas.height !== Math.round(box.height * scale)) canvas.height = Math.round(box.height * scale);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, box.width, box.height);
  pen.lineWidth = 2;
  const style = getComputedStyle(canvas);
  const lane = box.height / kinds.length;
  pen.fillStyle = style.getPropertyValue("--line");
  pen.fillRect(box.width * DOOR - 1, 0, 2, box.height);
  const now = performance.now();
  for (let i = dots.length - 1; i >= 0; i -= 1) {
    const dot = dots[i];
    const at = where(dot, now);
    if (!at) {
      dots.splice(i, 1);
      continue;
    }
    dot.x = 6 + at.x * (box.width - 12);
    dot.y = (dot.lane + 0.5) * lane + at.y;
    pen.globalAlpha = at.seen;
    mark(dot, dot.x, dot.y, style.getPropertyValue(dot.outcome === "ok" ? `--kind-${kinds[dot.lane]}` : "--bad"));
  }
  pen.globalAlpha = 1;
  drawing = dots.length > 0 && !still.matches;
  if (drawing) requestAnimationFrame(draw);
}

/** Show how many answers of each kind the last minute had, as the server counted them with the dots. */
export function showLanes(counts) {
  for (const lane of lanes.children) {
    const told = Object.entries(counts[lane.dataset.key] ?? { ok: 0 }).filter(([outcome, n]) => n || outcome === "ok");
    keep(lane.lastElementChild, told, ([outcome]) => outcome, ([outcome]) => html("span", { class: outcome }), (span, [outcome, n]) => {
      span.replaceChildren(html("b", {}, n.toLocaleString("en")), html("i", {}, ` ${outcome}`));
    });
  }
}

/** Let the dots of a moment run, in the order in which they came. */
export function runDots(batch) {
  const now = performance.now();
  const first = Math.min(...batch.map((dot) => dot.at_ms));
  for (const told of batch) {
    const lane = kinds.includes(told.kind) ? kinds.indexOf(told.kind) : kinds.indexOf("other");
    const dot = { ...told, lane, outcome: outcomeOf(told.status), from: now + Math.min(1000, told.at_ms - first) };
    if (dots.length < DOTS_MAX) dots.push(dot);
  }
  if (still.matches || document.hidden) dots.length = 0;
  else if (!drawing) requestAnimationFrame(draw);
}

function under(event) {
  const far = (dot) => Math.hypot(dot.x - event.offsetX, dot.y - event.offsetY);
  const [nearest] = dots.filter((dot) => far(dot) < 16).sort((a, b) => far(a) - far(b));
  return nearest;
}

/** A click on a dot gives its trace to `choose`. */
export function onDot(choose) {
  canvas.addEventListener("click", (event) => {
    const dot = under(event);
    if (dot) choose(dot.trace_id);
  });
  canvas.addEventListener("pointermove", (event) => {
    const dot = under(event);
    canvas.title = dot ? `${dot.kind} ${dot.status}, ${Math.round(dot.ms)} ms` : "";
    canvas.classList.toggle("over", Boolean(dot));
  });
}

requestAnimationFrame(draw);
