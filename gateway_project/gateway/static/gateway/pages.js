// A button to copy, beside each text that is marked with data-copy.

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
