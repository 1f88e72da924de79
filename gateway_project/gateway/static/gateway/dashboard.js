// Updates the dashboard every two seconds, section by section, while its tab is shown. Open tables and focus stay.

const INTERVAL = 2000;
const live = document.getElementById("live");
const note = document.getElementById("updates");
let paused = false;

const replace = (old, fresh) => {
  if (old.innerHTML === fresh.innerHTML) return;
  const open = [...old.querySelectorAll("details[open]")].map((each) => each.id);
  const scrolled = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  const focused = old.contains(document.activeElement) ? [...old.querySelectorAll("a, summary, [tabindex]")].indexOf(document.activeElement) : -1;
  for (const id of open) fresh.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  old.replaceChildren(...fresh.childNodes);
  old.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] ?? 0; });
  if (focused >= 0) old.querySelectorAll("a, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
};

const clock = () => new Date().toISOString().slice(11, 19);

const update = async () => {
  const response = await fetch(live.dataset.live, { headers: { Accept: "text/html" } });
  if (response.redirected || response.status === 403) {
    location.reload();
    return;
  }
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const section of fresh.querySelectorAll("[data-part]")) {
    const old = document.getElementById(section.id);
    if (old) replace(old, section);
  }
  note.textContent = `Updated ${clock()} UTC`;
  delete live.dataset.stale;
};

const run = async () => {
  if (!paused && !document.hidden) {
    try {
      await update();
    } catch (error) {
      live.dataset.stale ??= clock();
      note.textContent = `Not updated since ${live.dataset.stale} UTC: ${error.message}`;
    }
  }
  setTimeout(run, INTERVAL);
};

if (live) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button tiny";
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
  });
  note.after(button);
  setTimeout(run, INTERVAL);
}
