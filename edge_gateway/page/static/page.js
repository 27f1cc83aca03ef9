// Updates the page from server-sent events, counts the age of values, sounds alarms, shows a lost connection.
"use strict";

const LOST_AFTER_MS = 4000;
const OLD_AFTER_MS = Number(document.getElementById("cards").dataset.oldAfterMs);
const language = document.documentElement.lang;
let skew = 0, receivedAt = Date.now(), urgency = "", audio = null;

// --- events ----------------------------------------------------------------------------------------------------
const events = new EventSource("/events");
events.onmessage = ({ data }) => {
  const { now, sound, cards, parts } = JSON.parse(data);
  if (cards !== document.querySelectorAll(".card").length) return location.reload();
  skew = now - Date.now();
  receivedAt = Date.now();
  urgency = sound;
  document.documentElement.dataset.urgency = sound;
  const focused = document.activeElement && document.activeElement.id;
  for (const [id, html] of Object.entries(parts)) {
    const element = document.getElementById(id);
    if (element && element.innerHTML !== html) element.innerHTML = html;
  }
  if (focused && document.activeElement.id !== focused) document.getElementById(focused)?.focus();
  tick();
};

function tick() {
  const lost = Date.now() - receivedAt > LOST_AFTER_MS;
  document.getElementById("lost").hidden = !lost;
  document.body.classList.toggle("stale", lost);
  const now = Date.now() + skew;
  for (const time of document.querySelectorAll("time[data-at]")) {
    const age = Math.max(0, now - Number(time.dataset.at));
    time.textContent = formatAge(age);
    time.closest(".value").classList.toggle("old", age > OLD_AFTER_MS);
  }
  for (const time of document.querySelectorAll("time[data-clock]")) {
    const at = new Date(Number(time.dataset.clock));
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
  }
}

function formatAge(age) {
  const seconds = Math.floor(age / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}
setInterval(tick, 1000);
tick();

// --- actions ---------------------------------------------------------------------------------------------------
async function send(path, body) {
  const problem = document.getElementById("problem");
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
    });
    if (answer.status === 401) location.reload();
    problem.hidden = answer.ok;
    return answer.ok ? await answer.json() : null;
  } catch {
    problem.hidden = false;
    return null;
  }
}

document.addEventListener("click", ({ target }) => {
  const { patient, group, minutes, condition } = target.dataset ?? {};
  if (condition) send("/acknowledge", { condition });
  else if (patient) send("/acknowledge", { patient_id: patient, group, minutes: minutes ? Number(minutes) : null });
});

document.getElementById("handover").addEventListener("submit", async (event) => {
  event.preventDefault();
  const note = document.getElementById("note");
  if (await send("/handover", { note: note.value })) note.value = "";
});

document.getElementById("self-test").addEventListener("click", async ({ target }) => {
  const results = document.getElementById("self-test-results");
  target.disabled = true;
  results.replaceChildren();
  const answer = await send("/self-test", {});
  target.disabled = false;
  for (const line of answer ? answer.lines : []) {
    const item = document.createElement("li");
    item.textContent = line;
    results.append(item);
  }
});

// --- sound -----------------------------------------------------------------------------------------------------
// Bursts as in IEC 60601-1-8: five pulses for high priority, three for medium, none for low. Browsers allow sound
// only after a click.
const BURSTS = { HIGH: [5, 4], MEDIUM: [3, 15] };
const button = document.getElementById("sound");
button.addEventListener("click", () => {
  audio = audio ? (audio.close(), null) : new AudioContext();
  button.setAttribute("aria-pressed", String(audio !== null));
  button.textContent = audio ? button.dataset.on : button.dataset.off;
  played = 0;
});

let played = 0;
function sound() {
  const [pulses, everySeconds] = BURSTS[urgency] ?? [0, 0];
  if (!audio || !pulses || Date.now() - played < everySeconds * 1000) return;
  played = Date.now();
  for (let pulse = 0; pulse < pulses; pulse += 1) {
    const start = audio.currentTime + pulse * 0.25 + (pulse > 2 ? 0.25 : 0);
    const tone = audio.createOscillator(), loudness = audio.createGain();
    tone.frequency.value = urgency === "HIGH" ? 880 : 523;
    loudness.gain.setValueAtTime(0, start);
    loudness.gain.linearRampToValueAtTime(0.6, start + 0.02);
    loudness.gain.linearRampToValueAtTime(0, start + 0.16);
    tone.connect(loudness).connect(audio.destination);
    tone.start(start);
    tone.stop(start + 0.18);
  }
}
setInterval(sound, 500);
