// Fills the page from its data. What comes from data is set as text, never as markup.

const $ = (id) => document.getElementById(id);
const SWITCHES = ["detector", "metric", "threshold", "degradation", "level", "repeat", "leak_free"];
const CLEAN = "none", MEAN = "mean";
let data, matrix, columns, numberOf, shown = {}, curvesOf, colour, active = null;

function make(tag, words = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = words;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// A name that may go on in the next line after an underscore or a plus.
const breakable = (name) => name.split(/(?<=[_+])/).flatMap((part, at) => (at ? [make("wbr"), part] : [part]));

// ---- numbers, as every table of the study shows them

function number(value) {
  if (value === null || value === undefined) return "undefined";
  if (Math.abs(value) >= 1000) return String(Number(value.toPrecision(6)));
  const sixteenths = value * 16; // Only odd sixteenths lie in the middle: they go to the even digit.
  if (Number.isInteger(sixteenths) && sixteenths % 2) {
    const below = Math.floor(value * 1000);
    return ((below % 2 ? below + 1 : below) / 1000).toFixed(3);
  }
  const text = Number(value.toFixed(9)).toFixed(3);
  return Number(text) === 0 ? "0.000" : text;
}

function ends(low, high) {
  if (low === null || high === null) return "";
  return `[${low.toFixed(2)}, ${high.toFixed(2)}]`.replace(/-(0\.00)/g, "$1");
}

function interval(value, low, high) {
  const text = low === null || high === null ? "" : ` [${number(low)}, ${number(high)}]`;
  return number(value) + text;
}

// ---- the matrix

const key = (...parts) => parts.join("|");

function index() {
  numberOf = new Map();
  columns.value.forEach((_, i) => {
    const c = columns;
    numberOf.set(
      key(c.detector[i], c.train_on[i], c.test_on[i], c.degradation[i], c.quantity[i], c.level[i], c.leak_free[i], c.repeat[i]), i);
  });
  curvesOf = new Map(data.curves.cells.map((one) => [key(one.detector, one.train_on, one.test_on), one]));
}

function find(d, x, y, quantity, { degradation, level, leak_free, repeat } = shown) {
  const once = matrix.names.repeat.indexOf(""); // what was run elsewhere is not repeated
  const at = (q, l, f) => numberOf.get(key(d, x, y, degradation, q, l, f, repeat))
    ?? numberOf.get(key(d, x, y, degradation, q, l, f, once));
  const own = leak_free ? at(quantity, level, 1) ?? at(quantity, level, 0) : at(quantity, level, 0);
  if (own !== undefined) return own;
  const image = matrix.names.level.indexOf("image"); // a cell without numbers has one line, of its AUC
  const auc = at(matrix.quantities.findIndex((q) => q.metric === "auc"), image, 0);
  return auc !== undefined && matrix.states[columns.state[auc]] !== "done" ? auc : undefined;
}

function stateWords(i) {
  if (i === undefined) return "not measured";
  const state = matrix.states[columns.state[i]];
  return state === "done" ? "undefined" : state;
}

function quantityNow() {
  return matrix.quantities.findIndex((q) => q.metric === shown.metric && q.threshold === shown.threshold);
}

function fillSwitches() {
  const options = (id, names, words = (name) => name) => {
    const before = $(id).value;
    $(id).replaceChildren(...names.map((name) => make("option", words(name), { value: name })));
    if (names.includes(before)) $(id).value = before;
    $(id).disabled = names.length < 2;
  };
  const titles = new Map(matrix.quantities.map((q) => [q.metric, q.title.split(" at p = ")[0].split(" at the ")[0]]));
  options("detector", ["", ...matrix.names.detector], (name) => name || "all");
  options("metric", [...titles.keys()], (name) => titles.get(name));
  options("degradation", matrix.names.degradation, (name) => (name === CLEAN ? "none (clean)" : name));
  options("level", matrix.names.level);
  const repeats = matrix.names.repeat.filter(Boolean);
  options("repeat", repeats.length ? repeats : [""], (name) => (name === MEAN ? "mean over all" : name));
  $("repeat").parentElement.hidden = !repeats.length;
  $("leak_free").disabled = !columns.leak_free.includes(1);
  $("detector").disabled = matrix.names.detector.length < 2;
  const thresholds = () => {
    const own = matrix.quantities.filter((q) => q.metric === $("metric").value).map((q) => q.threshold);
    options("threshold", own, (name) => data.threshold_titles[name] ?? (name || "(none needed)"));
  };
  $("metric").addEventListener("change", thresholds);
  thresholds();
  for (const id of SWITCHES) $(id).addEventListener("change", drawMatrix);
}

function readSwitches() {
  shown = {
    detector: $("detector").value,
    metric: $("metric").value,
    threshold: $("threshold").value,
    degradation: matrix.names.degradation.indexOf($("degradation").value),
    level: matrix.names.level.indexOf($("level").value),
    repeat: matrix.names.repeat.indexOf($("repeat").value),
    leak_free: $("leak_free").checked,
  };
}

function pairings() {
  const seen = new Map();
  columns.detector.forEach((d, i) => {
    if (!shown.detector || matrix.names.detector[d] === shown.detector)
      seen.set(key(d, columns.train_on[i]), [d, columns.train_on[i]]);
  });
  return [...seen.values()];
}

// From chance to the best where a quantity has a chance level, so that maps can be compared; and over all that is shown.
function scale(values, known) {
  const greater = known.greater_is_better, fixed = known.chance === null ? [] : [known.chance, greater ? 1 : 0];
  const low = Math.min(...values, ...fixed), high = Math.max(...values, ...fixed);
  const place = (v) => (high > low ? (v - low) / (high - low) : 0.5);
  return { low, high, of: (v) => colour(greater ? place(v) : 1 - place(v)) };
}

// Black or white, whichever stands out more by WCAG's relative luminance: one of them always has 4.5 to 1.
function inkOn(background) {
  const parts = background.match(/\d+/g).map((part) => Number(part) / 255); // rgb(1, 2, 3), as the library writes it
  const [r, g, b] = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

function drawMatrix() {
  readSwitches();
  const quantity = quantityNow(), known = matrix.quantities[quantity], rows = pairings();
  const tests = matrix.names.test_on.map((_, y) => y);
  const places = rows.flatMap(([d, x]) => tests.map((y) => find(d, x, y, quantity)));
  const values = places.filter((i) => i !== undefined).map((i) => columns.value[i]).filter((v) => v !== null);
  const colours = scale(values, known);
  const head = make("tr");
  head.append(make("th", "detector, trained on \\ tested on", { scope: "col" }));
  for (const y of tests) {
    const name = matrix.names.test_on[y], warned = data.datasets[name]?.warnings;
    const column = make("th", "", { scope: "col", ...(warned ? { title: warned } : {}) });
    column.append(...breakable(name), warned ? " !" : "");
    head.append(column);
  }
  const body = make("tbody");
  rows.forEach(([d, x], row) => {
    const line = make("tr"), name = make("th", "", { scope: "row" });
    const detector = make("b");
    detector.append(...breakable(matrix.names.detector[d]));
    name.append(detector, ...breakable(matrix.names.train_on[x]));
    line.append(name, ...tests.map((y, at) => cellOf(d, x, y, quantity, colours, row, at)));
    body.append(line);
  });
  const top = make("thead");
  top.append(head);
  $("grid").replaceChildren(top, body, ...controlsOf(quantity, tests));
  const first = $("grid").querySelector("button");
  if (first) first.tabIndex = 0;
  say(known, values, colours);
}

function say(known, values, colours) {
  const better = known.is_threshold ? "" : known.greater_is_better ? "; brighter is better" : "; brighter is better, which is lower";
  $("said").replaceChildren(`${known.title}. `);
  if (values.length) {
    const bar = make("span", "", { class: "bar", "aria-hidden": "true" });
    const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => colours.of(colours.low + t * (colours.high - colours.low)));
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    $("said").append(number(colours.low), bar, `${number(colours.high)}${better}.`);
  }
  const left = matrix.left_out;
  if (left.length) $("said").append(` Only in matrix.csv, as they are too many for a page: ${left.join(", ")}.`);
}

function cellOf(d, x, y, quantity, colours, row, at) {
  const i = find(d, x, y, quantity), cell = make("td", "", { role: "gridcell" });
  const button = make("button", "", { type: "button", tabindex: "-1", "data-row": row, "data-at": at });
  const [detector, train, test] = [matrix.names.detector[d], matrix.names.train_on[x], matrix.names.test_on[y]];
  const value = i === undefined ? null : columns.value[i];
  const pair = data.pairs.find((one) => one.train_on === train && one.test_on === test);
  const isIn = i !== undefined && matrix.domains[columns.domain[i]] === "in";
  const marks = (isIn ? "*" : "") + (pair?.warnings || pair?.leaked ? "!" : "") + (pair?.note ? "~" : "");
  button.append(make("span", (value === null ? stateWords(i) : number(value)) + (marks && ` ${marks}`)));
  if (value === null) cell.classList.add("none");
  else {
    const colour = colours.of(value);
    button.style.background = colour;
    button.style.color = inkOn(colour);
    button.append(make("small", ends(columns.low[i], columns.high[i])));
  }
  if (isIn) cell.classList.add("in");
  const words = i === undefined ? "" : matrix.texts[columns.text[i]];
  button.title = [`${detector}, trained on ${train}, tested on ${test}`, words].filter(Boolean).join("\n");
  button.setAttribute("aria-label", `${button.title}: ${button.firstChild.textContent}`);
  Object.assign(button.dataset, { detector, train, test });
  button.addEventListener("click", () => openCell(d, x, y));
  cell.append(button);
  return cell;
}

function controlsOf(quantity, tests) {
  if (matrix.quantities[quantity].metric !== "auc" || shown.degradation !== matrix.names.degradation.indexOf(CLEAN)) return [];
  const lines = new Map();
  for (const one of data.controls) {
    const isNull = one.role === "null";
    if (isNull && shown.detector && one.detector !== shown.detector) continue;
    const name = isNull ? `permuted labels: ${one.detector}, ${one.train_on}` : one.detector;
    if (!lines.has(name)) lines.set(name, new Map());
    lines.get(name).set(one.test_on, one);
  }
  if (!lines.size) return [];
  const body = make("tbody", "", { class: "controls" });
  for (const [name, of] of lines) {
    const line = make("tr");
    const head = make("th", "", { scope: "row" });
    head.append(...breakable(name));
    line.append(head);
    for (const y of tests) {
      const one = of.get(matrix.names.test_on[y]), cell = make("td", "", { role: "gridcell" }), box = make("div");
      box.append(make("span", one ? number(one.value) : ""));
      if (one) { box.append(make("small", ends(one.low, one.high))); box.title = one.text; }
      cell.append(box);
      line.append(cell);
    }
    body.append(line);
  }
  return [body];
}

// In the grid one cell is a tab stop, and arrows move it.
function moveInGrid(event) {
  const from = event.target.closest("button[data-row]");
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (!from || !(event.key in steps)) return;
  const [down, right] = steps[event.key];
  const to = $("grid").querySelector(
    `button[data-row="${Number(from.dataset.row) + down}"][data-at="${Number(from.dataset.at) + right}"]`);
  event.preventDefault();
  if (!to) return;
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

// ---- a cell

function table(head, rows) {
  const made = make("table"), top = make("thead"), body = make("tbody"), line = make("tr");
  line.append(...head.map((name) => make("th", name, { scope: "col" })));
  top.append(line);
  for (const row of rows) {
    const tr = make("tr");
    tr.append(...row.map((text) => make("td", text)));
    body.append(tr);
  }
  made.append(top, body);
  return made;
}

function openCell(d, x, y) {
  const place = { detector: matrix.names.detector[d], train_on: matrix.names.train_on[x], test_on: matrix.names.test_on[y] };
  const isHere = (one) => ["detector", "train_on", "test_on"].every((name) => one[name] === place[name]);
  const degraded = matrix.names.degradation[shown.degradation], repeat = matrix.names.repeat[shown.repeat];
  active = document.activeElement;
  $("cell-title").textContent = [`${place.detector}: ${place.train_on} → ${place.test_on}`,
    ...(degraded === CLEAN ? [] : [degraded]), ...(repeat && repeat !== MEAN ? [repeat] : [])].join(", ");
  const isOwn = !repeat || repeat === MEAN || repeat === matrix.own_repeat;
  const parts = [], curve = isOwn ? curvesOf.get(key(place.detector, place.train_on, place.test_on)) : undefined;
  if (repeat && place.train_on !== "(elsewhere)")
    parts.push(make("p", `Curves, images and commands are of ${matrix.own_repeat}.`, { class: "note" }));
  const i = find(d, x, y, quantityNow());
  if (i !== undefined && matrix.texts[columns.text[i]]) parts.push(make("p", matrix.texts[columns.text[i]], { class: "note" }));
  if (curve && degraded === CLEAN) parts.push(...cellCharts(curve, data.evidence.find(isHere)));
  parts.push(...confusion(d, x, y));
  if (curve && degraded === CLEAN) parts.push(...worstOf(curve));
  parts.push(...numbersOf(d, x, y, isHere), ...commandOf(curve));
  $("cell-content").replaceChildren(...parts);
  $("cell").showModal();
  for (const [name, element] of Object.entries(pending)) draw(element.box, element.chart), delete pending[name];
}

const pending = {}; // charts that wait until they are on the page

function cellCharts(curve, evidence) {
  const box = make("div", "", { class: "charts" });
  const rates = data.curves.fpr.map((fpr, at) =>
    ({ fpr, tpr: curve.tpr[at], low: curve.low[at], high: curve.high[at] }));
  const scores = ["real", "fake"].flatMap((name) => curve[`${name}s`].map((share, at) =>
    ({ class: name, share, from: curve.edges[at], to: curve.edges[at + 1] })));
  const bins = curve.bins.map(([p, share, images]) => ({ p, share, images }));
  const ratios = (evidence?.tippett ?? []).flatMap(([at, reals, fakes]) =>
    [{ at, class: "real", share: reals }, { at, class: "fake", share: fakes }]);
  const values = { ROC: rates, DET: rates.filter((r) => r.fpr > 0 && r.fpr < 1), Scores: scores, Reliability: bins, Tippett: ratios };
  for (const [name, chart] of Object.entries(data.cell_charts)) {
    if (!values[name].length || (!curve.tpr.length && (name === "ROC" || name === "DET"))) continue;
    const figure = make("figure"), canvas = make("div", "", { class: "chart", role: "img", "aria-label": name });
    figure.append(make("figcaption", name), canvas);
    box.append(figure);
    pending[name] = { box: canvas, chart: { ...chart, data: { values: values[name] } } };
  }
  const line = curve.seeds > 1 ? `Lines: mean over ${curve.seeds} seeds. ` : "One seed. ";
  const band = curve.low.some((low) => low !== null) ? "Bands: 95 % interval of each point, over test images alone, from two groups of reals on. " : "";
  return [box, make("p", `${line}${band}Histogram: bins of equal width, what lies beyond is in the first and last. Reliability: bins of equal mass. Both: all seeds together.`, { class: "note" })];
}

function confusion(d, x, y) {
  const count = (name, threshold) => {
    const i = find(d, x, y, matrix.quantities.findIndex((q) => q.metric === name && q.threshold === threshold));
    return i === undefined ? null : columns.value[i];
  };
  const thresholds = [...new Set(matrix.quantities.filter((q) => q.metric === "tp").map((q) => q.threshold))];
  const whole = (v) => (Number.isInteger(v) ? String(v) : v.toFixed(1));
  const rows = thresholds.map((t) => [t, ...["tn", "fp", "fn", "tp"].map((name) => count(name, t))])
    .filter((row) => !row.includes(null));
  if (!rows.length) return [];
  const head = ["threshold", "real, called real", "real, called fake", "fake, called real", "fake, called fake"];
  return [make("h3", "Confusion counts, mean over seeds"), table(head, rows.map(([t, ...n]) => [data.threshold_titles[t] ?? t, ...n.map(whole)]))];
}

function numbersOf(d, x, y, isHere) {
  const rows = [];
  matrix.quantities.forEach((q, at) => {
    const i = find(d, x, y, at);
    if (q.is_count || i === undefined || columns.value[i] === null) return;
    const row = [q.title, interval(columns.value[i], columns.low[i], columns.high[i]),
      columns.sd[i] === null ? "" : number(columns.sd[i]), `${columns.n_real[i]} / ${columns.n_fake[i]}`];
    rows.push(Object.assign(row, { is_ratio: q.metric.startsWith("cllr") }));
  });
  const parts = [];
  const lines = data.evidence.filter(isHere).flatMap((one) => one.lines);
  const others = rows.filter((row) => row.is_ratio).map(([title, value]) => [title, value]);
  if (lines.length || others.length) parts.push(make("h3", "Likelihood ratios"), table(["what", "is"], [...others, ...lines]));
  const isMean = [undefined, "", MEAN].includes(matrix.names.repeat[shown.repeat]);
  const seeds = data.seeds.filter((one) => isMean && isHere(one)).map((one) => [`AUC, seed ${one.seed}`, interval(one.value, one.low, one.high), "", ""]);
  const some = data.subsets.filter((one) => isMean && isHere(one)).map((one) => [`AUC, ${one.subset}`, interval(one.value, one.low, one.high), "", ""]);
  const all = make("details");
  all.append(make("summary", "All numbers of this cell"),
    table(["metric", "value [95 % interval]", "sd over seeds", "real / fake"], [...rows, ...seeds, ...some]));
  return [...parts, all];
}

function worstOf(curve) {
  if (!curve.worst.length) return [make("p", "No image lies on the wrong side of p = 0.5.", { class: "note" })];
  const rows = curve.worst.map(([name, label, logit]) => [name, label, logit.toFixed(2)]);
  const made = table(["image", "is", "logit, mean over seeds"], rows), small = data.images[curve.test_on] ?? {};
  curve.worst.forEach(([name], at) => {
    if (name in small) // Letters of base64 alone stand in it.
      made.tBodies[0].rows[at].cells[0].prepend(
        make("img", "", { src: `data:image/jpeg;base64,${small[name]}`, alt: "", class: "small" }));
  });
  return [make("h3", "Its worst errors, at p = 0.5"), made];
}

function commandOf(curve) {
  if (!data.again || !curve?.predictions) return [];
  const lines = `${data.again}\npython -m study.score '${data.predictions}/${curve.predictions}' --score logit`;
  return [make("h3", "The same numbers from the predictions, image by image"), make("pre", lines)];
}

// ---- charts

async function draw(element, chart) {
  const wide = element.clientWidth || 600, canvas = make("div", "", chart.width === "container" ? { class: "wide" } : {});
  element.replaceChildren(canvas);
  if (!element.hasAttribute("aria-label")) {
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", element.closest("section").querySelector("h2").textContent);
  }
  const spec = chart.facet ? { ...chart, columns: Math.max(1, Math.min(chart.columns, Math.floor(wide / 340))) } : chart;
  await vegaEmbed(canvas, spec, { ast: true, actions: false, renderer: "svg", config: data.config });
}

// A colour scheme of the library's: what gives the colour of a number in [0, 1].
async function scheme(name) {
  const color = { field: "at", type: "quantitative", scale: { scheme: name, domain: [0, 1] } };
  const { view } = await vegaEmbed(make("div"), { data: { values: [] }, mark: "point", encoding: { color } }, { ast: true });
  return view.scale("color");
}

function drawCharts() {
  const absent = [];
  for (const name of ["forest", "robustness", "delivery", "flips", "later", "tuning", "search", "learning"]) {
    const section = name === "forest" ? $("forest") : $(name), chart = data.charts[name];
    if (!chart) {
      section.hidden = true;
      if (name === "forest") $("forest-note").hidden = true;
      else absent.push(section.querySelector("h2").textContent);
    } else draw(name === "forest" ? section : section.querySelector(".chart"), chart);
  }
  $("absent").hidden = !absent.length;
  $("absent").textContent = `This page has no chart for: ${absent.join(", ")}.`;
}

// ---- the page

function fillNav() {
  for (const section of document.querySelectorAll("main > section:not([hidden])"))
    document.querySelector("nav").append(make("a", section.querySelector("h2").textContent, { href: `#${section.id}` }));
}

function themes() {
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const tell = () => { $("theme").textContent = dark() ? "Light" : "Dark"; };
  $("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    tell();
  });
  tell();
}

// On paper nothing can be unfolded.
function openInPrint() {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("main details:not([open])")];
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
}

async function start() {
  themes();
  const bytes = Uint8Array.from(atob($("data").textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  data = JSON.parse(await new Response(stream).text());
  matrix = data.matrix;
  columns = matrix.columns;
  index();
  colour = await scheme("cividis");
  fillSwitches();
  drawMatrix();
  drawCharts();
  fillNav();
  openInPrint();
  $("grid").addEventListener("keydown", moveInGrid);
  $("cell").addEventListener("close", () => active?.focus());
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  $("trouble").textContent = `The charts and the heat map cannot be drawn in this browser (${error.message}). The tables below are whole.`;
  $("trouble").hidden = false;
  throw error;
});
