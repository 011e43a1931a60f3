// Replaces the live part of the page each second; without it the page reloads itself.
const live = document.getElementById("live");
async function refresh() {
  try {
    const answer = await fetch("/control/live", { headers: { accept: "text/html" } });
    if (answer.ok) live.innerHTML = await answer.text();
  } catch {
    // The shop is closed or restarting; the next second tells.
  }
  setTimeout(refresh, 1000);
}
setTimeout(refresh, 1000);
