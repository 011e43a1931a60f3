// What is left of each error budget, and how fast it burns.
import { $, figure, html, keep, say, set } from "./dom.js";

const ALERTS = { page: "⚠ page", ticket: "⚠ ticket" };

function make(budget) {
  const about = html("p", { class: "quiet" }, `${budget.percent} %: ${budget.promise}`);
  const bar = html("progress", { max: 1, "aria-label": `What is left of the budget of ${budget.name}` });
  return html("li", {}, html("b", {}, budget.name), " ", html("span", { class: "burning" }), bar, html("span", { class: "left" }), " ", html("span", { class: "burn" }), about);
}

function left(budget) {
  if (!budget.events) return "no requests yet";
  return budget.left < 0 ? `spent ${figure(1 - budget.left)} times over` : `${Math.round(100 * budget.left)} % left`;
}

export function showBudgets(budgets) {
  keep($("budgets"), budgets, (budget) => budget.name, make, (item, budget) => {
    set(item, "data-is", budget.alert ?? (budget.left < 0 ? "spent" : "well"));
    say(item.querySelector(".burning"), ALERTS[budget.alert] ?? "");
    item.querySelector("progress").value = Math.max(0, Math.min(1, budget.left));
    say(item.querySelector(".left"), left(budget));
    say(item.querySelector(".burn"), `burn rate ${figure(budget.burn_rate)}`);
  });
}
