// The API documents in the system's colours: Swagger UI by its class, ReDoc by a theme that it is started with.

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--gh-${name}`).trim();

function theme() {
  return {
    colors: {
      primary: { main: colour("accent") },
      success: { main: colour("good") },
      warning: { main: colour("warn") },
      error: { main: colour("bad") },
      text: { primary: colour("text"), secondary: colour("quiet") },
      border: { dark: colour("edge"), light: colour("line") },
      // White text is on these, in both schemes.
      http: { get: "#17643a", post: "#2553c4", put: "#7a4b00", delete: "#a61b22", patch: "#7a4b00" },
    },
    schema: { nestedBackground: colour("sunken"), typeNameColor: colour("quiet"), requireLabelColor: colour("bad") },
    sidebar: { backgroundColor: colour("card"), textColor: colour("text") },
    rightPanel: { backgroundColor: dark.matches ? "#0b0f15" : "#1c2634" },
    typography: { fontFamily: colour("sans"), headings: { fontFamily: colour("sans") }, code: { fontFamily: colour("mono"), color: colour("text"), backgroundColor: colour("sunken") } },
  };
}

// Each of the two programs is more than a megabyte: to run it takes longer than to paint the header, which comes first.
function load(place, started) {
  const { style, scripts } = place.dataset;
  if (style) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = style;
    // docs.css overrides it.
    document.querySelector("link[href*='gateway/docs']").before(link);
  }
  scripts.split(" ").forEach((source, index, all) => {
    const script = document.createElement("script");
    script.src = source;
    // In their order.
    script.async = false;
    if (index === all.length - 1) script.onload = started;
    document.body.append(script);
  });
}

const afterPaint = (work) => requestAnimationFrame(() => setTimeout(work));
const redoc = document.getElementById("redoc");
if (redoc) {
  const settings = () => ({ theme: theme(), scrollYOffset: 0 });
  afterPaint(() => load(redoc, () => Redoc.init(redoc.dataset.document, settings(), redoc)));
} else {
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
  afterPaint(() => load(document.getElementById("swagger-ui"), null));
}
