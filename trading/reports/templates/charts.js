// Draws the charts: those in sight at once, those of a trade when it is opened.  Colours come from the style sheet.
const figures = JSON.parse(document.getElementById("figures").textContent);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

function coloured(value) {
  if (typeof value === "string") return /^\$[a-z]+$/.test(value) ? colour(value.slice(1)) : value;
  if (Array.isArray(value)) return value.map(coloured);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one)]));
}

function draw(place) {
  const figure = figures[place.dataset.chart];
  const layout = coloured(figure.layout);
  const narrow = place.clientWidth < 520;
  const axis = { gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true };
  for (const name of Object.keys(layout).filter((one) => /^[xy]axis\d*$/.test(one))) {
    layout[name] = { ...axis, ...layout[name] };
  }
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 12 },
    margin: { l: 8, r: 8, t: 8, b: 8 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    hoverlabel: { bgcolor: colour("paper"), font: { color: colour("ink") }, bordercolor: colour("line") },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  });
  if (layout.height) place.style.height = `${layout.height}px`;  // else a phone that is turned cuts the axis off
  Plotly.react(place, coloured(figure.data), layout, { responsive: true, displayModeBar: false });
}

function drawAll() {
  for (const place of document.querySelectorAll("[data-chart]")) {
    const folded = place.closest("details");
    if (!folded || folded.open) draw(place);
  }
}

if (window.Plotly) {
  drawAll();
  for (const one of document.querySelectorAll("details.trade")) {
    one.addEventListener("toggle", () => one.open && draw(one.querySelector("[data-chart]")));
  }
  for (const media of ["(prefers-color-scheme: dark)", "print"]) matchMedia(media).addEventListener("change", drawAll);
} else {
  for (const place of document.querySelectorAll("[data-chart]")) {
    place.classList.add("missing");
    place.textContent = "The charts need plotly.min.js beside this page; the command that wrote the page writes it.";
  }
}
