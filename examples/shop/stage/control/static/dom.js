// Making and keeping elements: what the parts of the room share.
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** Set several attributes, then append the children. */
export function dress(element, attributes, ...children) {
  for (const name in attributes) set(element, name, attributes[name]);
  element.append(...children);
  return element;
}

export const html = (tag, ...rest) => dress(document.createElement(tag), ...rest);
export const svg = (tag, ...rest) => dress(document.createElementNS(SVG, tag), ...rest);

/** Set an attribute only when it changed; null takes it away. */
export function set(element, name, value) {
  const wanted = value === null ? null : String(value);
  if (element.getAttribute(name) === wanted) return;
  if (wanted === null) element.removeAttribute(name);
  else element.setAttribute(name, wanted);
}

/** Set the text only when it changed, so that nothing is read out twice. */
export function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Make the children of `parent` be `items`, in order, keeping the element (and its focus) of each key that is unique. */
export function keep(parent, items, keyOf, make, fill) {
  const had = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const kept = new Set();
  let place = parent.firstElementChild;
  for (const [i, item] of items.entries()) {
    const key = String(keyOf(item));
    let element = had.get(key);
    if (element) had.delete(key);
    else {
      element = make(item);
      element.dataset.key = key;
    }
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    kept.add(element);
    fill?.(element, item, i);
  }
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
}

function isOnScreen(element) {
  const box = element.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

/** Change the page; what has the focus and was on the screen stays there, though parts above it have grown. */
export function keepInSight(change) {
  const focused = document.activeElement;
  const wasSeen = focused !== document.body && isOnScreen(focused);
  change();
  if (wasSeen && focused === document.activeElement && !isOnScreen(focused)) focused.scrollIntoView({ block: "nearest", behavior: "instant" });
}

export const words = (name) => String(name).replaceAll("_", " ");
export const figure = (n) => (n > 0 && n < 10 ? n.toFixed(1) : Math.round(n).toLocaleString("en"));
export const lasted = (ms) => (ms < 1000 ? `${figure(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);
export const clock = (iso) => new Date(iso).toLocaleTimeString("en-GB");

/** Ask control for something; a refusal becomes an error with the sentence of its problem document. */
export async function ask(method, path, body) {
  const answer = await fetch(`/control/api/${path}`, {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.errors?.map((one) => `${one.pointer}: ${one.detail}`).join(" ") || told.detail || `The shop answered ${answer.status}.`);
  return told;
}
