// What pages do with scripts on: a button to copy, times in the reader's zone, files that are too large, regions that
// scroll, and a form's page under the form's address.

// A reload of the page that answers a form asks for the path again, not for the form.
const { path } = document.currentScript.dataset;
if (path) history.replaceState({}, "", path);

for (const time of document.querySelectorAll("time")) {
  const moment = new Date(time.dateTime);
  if (!Number.isNaN(moment.valueOf())) {
    time.title = time.dateTime;
    time.textContent = moment.toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
  }
}

// Only where a region scrolls is it a stop of the Tab key.
const scrolls = new ResizeObserver((entries) => {
  for (const { target } of entries) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
});
for (const region of document.querySelectorAll(".scroll")) scrolls.observe(region);

for (const form of document.querySelectorAll("form[data-max-files]")) {
  const inputs = [...form.querySelectorAll("input[type=file]")];
  form.addEventListener("change", () => {
    const size = inputs.flatMap((input) => [...input.files]).reduce((sum, file) => sum + file.size, 0);
    const message = size > form.dataset.maxFiles ? `Choose smaller files: together at most ${form.dataset.maxFiles} bytes.` : "";
    for (const input of inputs) input.setCustomValidity(message);
  });
}

for (const text of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button tiny";
  button.textContent = "Copy";
  const label = text.dataset.copy;
  if (label) button.setAttribute("aria-label", `Copy ${label}`);
  const content = text.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(content);
    } catch {
      // Without https browsers let no script write to the clipboard.
      getSelection().selectAllChildren(text);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  const around = document.createElement("div");
  around.className = "copied";
  text.replaceWith(around);
  around.append(text, button);
}
