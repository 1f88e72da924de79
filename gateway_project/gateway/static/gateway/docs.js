// The API documents in the system's colours: Swagger UI by its class, ReDoc by a theme that it is started with.

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--gh-${name}`).trim();

function theme() {
  return {
    colors: {
      primary: { main: colour("accent") },
      text: { primary: colour("text"), secondary: colour("quiet") },
      border: { dark: colour("edge"), light: colour("line") },
      // White text is on these, in both schemes.
      http: { get: "#17643a", post: "#2553c4", put: "#7a4b00", delete: "#a61b22", patch: "#7a4b00" },
    },
    schema: { nestedBackground: colour("sunken"), typeNameColor: colour("quiet"), requireLabelColor: colour("bad") },
    sidebar: { backgroundColor: colour("card"), textColor: colour("text") },
    rightPanel: { backgroundColor: dark.matches ? "#0b0f15" : "#1c2634" },
    typography: { fontFamily: colour("sans"), headings: { fontFamily: colour("sans") }, code: { fontFamily: colour("mono") } },
  };
}

const place = document.getElementById("redoc");
if (place) {
  Redoc.init(place.dataset.document, { theme: theme(), scrollYOffset: 0 }, place);
} else {
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
}
