// The browsable API: sends forms with the method, the type and the content that they name.
// DRF's own script stops at a 204, and writes a service's HTML into this page.

async function send(form, method) {
  const field = (name) => form.querySelector(`[data-override="${name}"]`);
  const headers = { Accept: "text/html" };
  if (field("content")) headers["Content-Type"] = field("content-type").value;
  const response = await fetch(form.action, { method, headers, body: field("content")?.value });
  const header = (name) => response.headers.get(name) || "";
  const isPage = header("Content-Type").startsWith("text/html");
  // What is in a sandbox is a service's, and must not become a part of a page of the gateway's.
  if (isPage && !header("Content-Security-Policy").includes("sandbox")) {
    const page = await response.text();
    document.open();
    document.write(page);
    document.close();
    history.replaceState({}, "", form.action);
    scroll(0, 0);
  } else {
    location.assign(form.action);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const method = event.submitter?.dataset.method || form.dataset.method || "POST";
  if (!form.dataset.method && !form.querySelector('[data-override="content"]')) return;
  event.preventDefault();
  if (!form.dataset.confirm || confirm(form.dataset.confirm)) send(form, method);
});
