// Jobs that were given up, with the reason, and the button that has them tried again.
import { $, clock, html, keep, say } from "./dom.js";

function make(letter, act) {
  const button = html("button", { type: "button", "aria-label": `Redrive ${letter.job} of ${letter.order_id}` }, "Redrive");
  button.onclick = () => act("The dead letter is tried again", "POST", "dead-letters/redrive", { id: letter.id });
  const order = html("a", { href: `/orders/${encodeURIComponent(letter.order_id)}` }, letter.order_id);
  return html("li", {}, html("p", {}, html("b", {}, letter.job), " ", order), html("p", { class: "quiet" }), button);
}

/** Show the dead letters of a state; `act` does what a button says. */
export function showLetters(state, act) {
  const dead = state.queues.jobs?.parked ?? 0;
  say($("letters-count"), dead ? `${dead} put aside` : "none");
  $("redrive-all").hidden = dead === 0;
  $("redrive-all").onclick = () => act("The dead letters are tried again", "POST", "dead-letters/redrive", {});
  keep($("letters"), state.dead_letters, (one) => one.id, (one) => make(one, act), (item, one) => {
    say(item.children[1], `${one.seller ? `${one.seller}, ` : ""}${clock(one.at)}: ${one.reason}`);
  });
}
