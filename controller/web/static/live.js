// Keeps the parts of a page that are marked data-live as they are now. Without it the page works, and is as old as its loading.
"use strict";
const PAUSE_MS = 3000;
const sign = document.getElementById("live");

function tell(isFresh) {
  if (!sign) return;
  sign.classList.toggle("stale", !isFresh);
  sign.textContent = isFresh ? "live" : "not reachable";
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html", "x-looking": "1" }, cache: "no-store" });
  if (answer.redirected) { location.reload(); return; }
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    const isInUse = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (next && !isInUse && part.innerHTML !== next.innerHTML) part.innerHTML = next.innerHTML;
  }
}

async function turn() {
  if (!document.hidden) {
    try { await refresh(); tell(true); } catch { tell(false); }
  }
  setTimeout(turn, PAUSE_MS);
}

if (document.querySelector("[data-live]")) setTimeout(turn, PAUSE_MS);
