// Keeps an open page as the files are: asks for its changing part whenever the server says that something changed.
// Loaded before: page.js gives `showHidden`, and on pages with charts, charts.js gives `figures` and `draw`.
const live = document.getElementById("live");
let asking = false, again = false;

// Only charts in sight are drawn again; the others once they come into sight.
const inSight = new Set();
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inSight.add(target); else inSight.delete(target);
    paint(target);
  }
}, { rootMargin: "100px" });

function paint(place) {
  if (!inSight.has(place) || !window.Plotly || !figures[place.dataset.chart]) return;
  const figure = JSON.stringify(figures[place.dataset.chart]);
  if (place.figure === figure) return;
  place.figure = figure;
  draw(place);
}

function watchCharts() {
  for (const place of live.querySelectorAll("[data-chart]")) sight.observe(place);
}

function put(text) {
  const charts = new Map([...live.querySelectorAll("[data-chart][id]")].map((one) => [one.id, one]));
  const folded = new Map([...live.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  const focus = document.activeElement && live.contains(document.activeElement) ? document.activeElement : null;
  const place = focus && [...live.querySelectorAll("a, button, summary, [tabindex]")].indexOf(focus);
  const word = document.getElementById("word")?.textContent;
  live.innerHTML = text;
  for (const fresh of live.querySelectorAll("[data-chart][id]")) {
    const drawn = charts.get(fresh.id);
    if (!drawn) continue;
    drawn.dataset.chart = fresh.dataset.chart;
    fresh.replaceWith(drawn);  // a chart that is there already is only given its new data
  }
  for (const fresh of live.querySelectorAll("details[id]")) fresh.open = folded.get(fresh.id) ?? fresh.open;
  if (focus) live.querySelectorAll("a, button, summary, [tabindex]")[place]?.focus({ preventScroll: true });
  showHidden();
  const now = document.getElementById("word")?.textContent;
  if (now && word && now !== word) document.getElementById("said").textContent = `The trader is ${now}.`;
  const data = document.getElementById("figures");
  if (!data) return;
  for (const key of Object.keys(figures)) delete figures[key];
  Object.assign(figures, JSON.parse(data.textContent));
  watchCharts();
  for (const place of inSight) {
    if (place.isConnected) paint(place); else inSight.delete(place);
  }
}

function answers(yes) {
  document.getElementById("link").hidden = yes;
}

async function refresh() {
  if (asking) { again = true; return; }
  asking = true;
  try {
    const reply = await fetch(location.href, { headers: { "X-Fragment": "1" }, signal: AbortSignal.timeout(10000) });
    if (reply.redirected || reply.status === 401) location.assign("/login");
    if (!reply.ok) throw new Error(reply.statusText);
    put(await reply.text());
    document.getElementById("read-at").textContent = new Date(reply.headers.get("date")).toISOString().slice(11, 19);
    answers(true);
  } catch {
    answers(false);
  }
  setTimeout(() => { asking = false; if (again) { again = false; refresh(); } }, 250);
}

if (live.hasAttribute("data-watched")) {
  watchCharts();
  let source = null;
  const listen = () => {
    const own = source = new EventSource("/events");
    own.addEventListener("change", refresh);
    own.addEventListener("error", () => {
      answers(false);
      if (own.readyState !== EventSource.CLOSED) return;  // the browser connects again by itself
      setTimeout(() => {  // refused, as by a dashboard that was started again and wants its token
        if (own !== source || document.hidden) return;
        refresh();
        listen();
      }, 5000);
    });
  };
  document.addEventListener("visibilitychange", () => {  // a phone in a pocket asks for nothing
    source?.close();
    if (!document.hidden) listen();
  });
  listen();
}
