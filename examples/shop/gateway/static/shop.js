// What a script adds to pages that work without one: a drawer for the cart, countdowns, an order that moves.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

// The drawer shows the main part of the cart's own page, so that there is one cart to keep right.
const drawer = $("#drawer");

async function page(address, options = {}) {
  const response = await fetch(address, { headers: { accept: "text/html" }, ...options });
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

function fill(found) {
  const cart = $("#cart", found);
  const body = $("#drawer-body");
  const name = (one) => one.id || one.getAttribute("aria-label") || one.textContent;
  const at = body.contains(document.activeElement) && name(document.activeElement);
  body.replaceChildren(...(cart || $("#problem", found) || $("main", found)).childNodes);
  if (cart) count(Number(cart.dataset.pieces));
  // A focus in the cart stays where it was, or goes to its top where that is gone.
  if (at) ([...body.querySelectorAll("a, input, button")].find((one) => name(one) === at) || $("[data-close]", drawer)).focus();
}

function count(pieces) {
  const sign = $("[data-count]");
  sign.hidden = !pieces;
  sign.childNodes[1].textContent = pieces;
}

function open() {
  if (drawer.open) return;
  drawer.showModal();
  document.documentElement.classList.add("held");
}

async function send(form) {
  return page(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.matches("[data-once]")) {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  }
  const inDrawer = form.matches("[data-cart]") && drawer.contains(form);
  if (!form.matches("[data-add]") && !inDrawer) return;
  event.preventDefault();
  try {
    fill(await send(form));
    open();
  } catch {
    form.submit();
  }
});

document.addEventListener("click", async (event) => {
  if (event.target.closest("[data-close]") || event.target === drawer) drawer.close();
  const link = event.target.closest("[data-drawer-link]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || location.pathname === "/cart") return;
  event.preventDefault();
  try {
    fill(await page(link.href));
    open();
  } catch {
    location.assign(link.href);
  }
});

drawer.addEventListener("close", () => document.documentElement.classList.remove("held"));

document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (form?.matches("[data-submit-on-change], [data-cart]") && form.reportValidity()) form.requestSubmit();
});

// A form that was sent may be sent again when the user comes back to it.
addEventListener("pageshow", () => document.querySelectorAll("[data-once]").forEach((form) => delete form.dataset.sent));

// Facets stand open beside a list, and folded above it.
for (const facets of document.querySelectorAll("[data-open-when-wide]")) {
  const wide = matchMedia("(min-width: 56rem)");
  const set = () => { facets.open = wide.matches; };
  wide.addEventListener("change", set);
  set();
}

// Countdowns tick once a second; without a script the plain time stands there.
const waiting = [...document.querySelectorAll("[data-countdown]")];

function tick() {
  for (const time of waiting) {
    const left = Math.ceil((Date.parse(time.dateTime) - Date.now()) / 1000);
    const two = (number) => String(number).padStart(2, "0");
    const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
    time.textContent = left <= 0 ? "now" : `in ${hours ? `${hours}:${two(minutes)}` : minutes}:${two(seconds)}`;
  }
}

if (waiting.length) {
  tick();
  setInterval(tick, calm.matches ? 10_000 : 1_000);
}

// An order that is being worked on is asked for again each second, for as long as it is.
async function follow() {
  let shown = $("#order")?.innerHTML;
  for (let asked = 0; $("#order[data-follow]") && asked < 600; asked++) {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    try {
      const found = await page(location.href);
      const order = $("#order", found);
      if (order && order.innerHTML !== shown) {
        shown = order.innerHTML;
        const opened = [...$("#order").querySelectorAll("details[open] > summary")].map((each) => each.textContent);
        $("#order").replaceChildren(...order.childNodes);
        for (const each of $("#order").querySelectorAll("details > summary")) {
          each.parentElement.open ||= opened.includes(each.textContent);
        }
        document.title = found.title;
      }
      if (order) $("#order").toggleAttribute("data-follow", order.hasAttribute("data-follow"));
    } catch {
      // The shop is away for a moment: the next second may do better.
    }
  }
}

follow();

// A mistake is no longer shown once its field is being corrected.
document.addEventListener("input", (event) => {
  const field = event.target.closest(".field.wrong");
  if (!field) return;
  field.classList.remove("wrong");
  event.target.removeAttribute("aria-invalid");
  event.target.removeAttribute("aria-describedby");
  $(".error", field)?.remove();
});
