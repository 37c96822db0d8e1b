"use strict";
// The explorer: parallel coordinates with brushes, the table that follows them, two configurations
// side by side.  It works on #explorer and reads #explorer-data; pageState, FORMATS, copyText and
// saveFile are those of marks.js.
{
const data = JSON.parse(document.getElementById("explorer-data").textContent);
const unpack = (text, Type) => new Type(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
// A column of numbers; empty where none of them is there.
const column = (text, length, Type) => text ? unpack(text, Type) : new Type(length).fill(NaN);
const SHEET = 680;  // pixels of a sheet of paper inside its margins
const SHOWN = 25, MOST_LINES = 4000, MOST_MOVING = 1200, MOST_FAINT = 2500, NARROW = 640, MANY_LEVELS = 12, NEAR = 7;
const STATUS = { o: "ok", d: "diverged", f: "failed", s: "skipped" };
const size = data.size, AXES = data.axes.length;
const codes = unpack(data.levels, data.wide ? Uint16Array : Uint8Array);
const [means, lows, highs, metrics, metricLows, metricHighs, seconds] = ["mean", "low", "high", "metric", "metric_low", "metric_high", "seconds"].map(name => column(data[name], size, data.exact ? Float64Array : Float32Array));
const RUNS = data.sizes.reduce((total, each) => total + each, 0);
const values = column(data.values, RUNS, Float64Array), scores = column(data.scores, RUNS, Float64Array);
// Points of curves are steps of a scale, the last of which is a missing point.
const stepOf = ([low, high], isLog) => step => { const value = low + step / 65534 * (high - low); return step === 65535 ? NaN : isLog ? Math.exp(value) : value; };
const EPOCHS = data.epochs.length, curves = EPOCHS && data.curves ? Float32Array.from(unpack(data.curves, Uint16Array), stepOf(data.curve_range, data.curve_log)) : new Float32Array();
const seedPlaces = data.seed === null ? null : unpack(data.seed, Uint16Array);
const starts = [0];
for (const count of data.sizes) starts.push(starts.at(-1) + count);
const hasMetric = metrics.some(Number.isFinite), hasSeconds = seconds.some(Number.isFinite);
const isBySeed = curves.length === values.length * EPOCHS && curves.length > 0;
const all = Array.from({ length: size }, (_, k) => k);

const byId = name => document.getElementById(`explorer-${name}`);
const node = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
const shape = (tag, attributes = {}, text = "") => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
};

// Numbers as a person reads them.
const MINUS = "−", NARROW_SPACE = "\u202f";
const minus = text => text.replace(/-/g, MINUS);
const number = value => {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return minus(value.toExponential(3));
  return minus(size >= 1e4 ? Math.round(value).toLocaleString("en") : value.toPrecision(4));
};
const brief = (value, digits = 3) => minus(Math.abs(value) !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) ? Number(value.toPrecision(digits)).toExponential() : String(Number(value.toPrecision(digits))));
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const interval = (low, high) => Number.isFinite(low) ? `${number(low)} to ${number(high)}` : "–";
// A change and the ends of its interval in one unit, as the tables write them: percent, or ratios
// where any is ten-fold.
const threeDigits = value => { const size = Math.abs(value); return minus(size !== 0 && (size < 1e-4 || size >= 1e5) ? value.toExponential(2) : value.toPrecision(3)); };
const writeRatio = ratio => Number.isFinite(ratio) ? `×${threeDigits(ratio)}` : "–";
function writePercent(ratio) {
  if (!Number.isFinite(ratio)) return "–";
  const percent = 100 * (ratio - 1), size = Math.abs(percent), decimals = size >= 100 ? 0 : size >= 0.95 ? 1 : 2;
  return `${Number(size.toFixed(decimals)) === 0 ? "0" : (percent > 0 ? "+" : "") + minus(percent.toFixed(decimals))}${NARROW_SPACE}%`;
}
function writeSigned(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value), text = size === 0 ? "0" : size >= 0.0005 && size < 1e4 ? value.toFixed(size < 10 ? 3 : 1) : Number(value.toPrecision(2)).toString();
  return (value > 0 ? "+" : "") + minus(text);
}

// A long name without its middle.
const cut = text => text.length > 36 ? `${text.slice(0, 24)}…${text.slice(-11)}` : text;
// A name that may break after what joins its parts.
const breakable = text => text.split(/(?<=[_/,])/).flatMap((piece, i) => i ? [document.createElement("wbr"), piece] : [piece]);

// Shorter names of the levels of an axis that still tell these apart: without strengths, and without
// the beginning that all but the control share, up to its last joint.
function shorterNames({ labels, control }) {
  const plain = labels.map(label => label.replace(/ \(.*$/, "")), others = labels.filter((_, code) => code !== control);
  let n = 0;
  while (n < others[0]?.length && others.every(text => text[n] === others[0][n])) n++;
  const joint = others.length > 1 ? others[0].slice(0, n).search(/[^_/,= -]*$/) : 0;
  return labels.map((label, code) => [...(new Set(plain).size === labels.length ? [plain[code]] : []), ...(joint > 1 && code !== control ? [`…${label.slice(joint)}`] : [])]);
}

// A name in at most so many pixels: a shorter one that fits, or the name without its middle.
const ruler = document.createElement("canvas").getContext("2d");
function shorten(text, room, others = []) {
  const fits = count => ruler.measureText(count < text.length ? `${text.slice(0, Math.ceil(0.65 * count))}…${text.slice(text.length - Math.floor(0.35 * count))}` : text).width <= room;
  if (fits(text.length)) return text;
  const shorter = others.find(name => ruler.measureText(name).width <= room);
  if (shorter) return shorter;
  let count = Math.min(text.length - 1, 120);
  while (count > 2 && !fits(count)) count--;
  return `${text.slice(0, Math.ceil(0.65 * count))}…${text.slice(text.length - Math.floor(0.35 * count))}`;
}

// What a configuration is.
const codeOf = (i, k) => codes[i * size + k];
const nameOf = k => data.axes.map((axis, i) => axis.names[codeOf(i, k)]).join(", ") || "the only configuration";
const seedOf = at => data.seeds[seedPlaces === null ? at % data.seeds.length : seedPlaces[at]];
const statusOf = at => data.status[at] ?? "o";
const runsOf = k => Array.from({ length: starts[k + 1] - starts[k] }, (_, i) => {
  const at = starts[k] + i;
  return { at, seed: seedOf(at), status: STATUS[statusOf(at)], value: values[at], score: scores[at], id: data.ids.slice(at * data.width, (at + 1) * data.width).trim() };
});
const endings = k => {
  const counts = { o: 0, d: 0, f: 0, s: 0 };
  for (let at = starts[k]; at < starts[k + 1]; at++) counts[statusOf(at)]++;
  return counts;
};
const bad = data.status ? all.map(k => endings(k).d) : new Uint8Array(size);
const describeEndings = k => Object.entries(endings(k)).filter(([, n]) => n).map(([key, n]) => `${n} ${STATUS[key]}`).join(", ") || "–";

// The axes: of levels, in slots one after another, or of numbers on a scale.
function numberAxis(name, at, higher, log, role) {
  const finite = all.map(at).filter(Number.isFinite);
  let low = Infinity, high = -Infinity;
  for (const value of finite) { low = Math.min(low, value); high = Math.max(high, value); }
  const isLog = low > 0 && (log === "wide" ? high / low >= 8 : log), f = isLog ? Math.log : value => value, back = isLog ? Math.exp : value => value;
  const span = f(high) - f(low);
  // What is better is nearer to the start of the axis.
  const place = value => { const share = span ? (f(value) - f(low)) / span : 0.5; return higher ? 1 - share : share; };
  const valueAt = position => back(f(low) + (higher ? 1 - position : position) * span);
  return { kind: "number", name, role, at, low, high, higher, isLog, place, valueAt, gaps: finite.length < size, filter: null };
}
function levelAxis(axis, i) {
  const numbers = axis.levels.map(Number), isNumeric = axis.levels.every(level => level.trim() !== "") && numbers.every(Number.isFinite);
  if (isNumeric && axis.levels.length > MANY_LEVELS) return { ...numberAxis(axis.name, k => numbers[codeOf(i, k)], true, "wide", "axis"), index: i };
  const order = axis.levels.map((_, code) => code);
  if (isNumeric) order.sort((a, b) => numbers[a] - numbers[b]);
  const slots = [];
  order.forEach((code, slot) => { slots[code] = slot; });
  return { kind: "levels", name: axis.name, role: "axis", index: i, labels: axis.labels.map((label, code) => isNumeric && label.length > 8 ? brief(numbers[code]) : label), control: axis.control, order, slots, filter: null };
}
const axes = data.axes.map(levelAxis);
const outcomeAxis = means.some(Number.isFinite) ? numberAxis(data.outcome.name, k => means[k], data.higher, data.scale === "log", "outcome") : null;
if (outcomeAxis) axes.push(outcomeAxis);
if (hasMetric) axes.push(numberAxis(data.second.name, k => metrics[k], data.second.higher, data.second.scale === "log", "second"));
if (hasSeconds) axes.push(numberAxis("run time\u00a0(s)", k => seconds[k], false, "wide", "time"));
// Where a line crosses each axis, from 0 to 1.  Within a level lines lie by their outcome, the best first.
const MISSING = 1.06;
const spread = new Float32Array(size);
const merit = outcomeAxis ? Float64Array.from(all, k => Number.isFinite(means[k]) ? outcomeAxis.place(means[k]) : 2) : new Float64Array(size);
[...all].sort((a, b) => merit[a] - merit[b]).forEach((k, rank) => { spread[k] = 0.64 * ((rank + 0.5) / size - 0.5); });
const crossings = axes.map(axis => Float32Array.from(all, k => {
  if (axis.kind === "levels") return (axis.slots[codeOf(axis.index, k)] + 0.5 + spread[k]) / axis.order.length;
  const value = axis.at(k);
  return Number.isFinite(value) ? axis.place(value) : MISSING;
}));
const passes = (axis, k) => {
  if (axis.filter === null) return true;
  if (axis.kind === "levels") return axis.filter.has(codeOf(axis.index, k));
  const value = axis.at(k), [low, high] = axis.filter;
  return value >= low && value <= high;
};

// State.
let search = "", order = "best", pins = [], limit = SHOWN, selected = all;
const names = [];
const searchName = k => names[k] ??= `${nameOf(k)} ${data.axes.map((axis, i) => `${axis.name}=${axis.levels[codeOf(i, k)]}`).join(" ")}`.toLowerCase();

function select() {
  const brushed = axes.filter(axis => axis.filter !== null), words = search.toLowerCase().split(/\s+/).filter(Boolean);
  selected = !brushed.length && !words.length ? all : all.filter(k => brushed.every(axis => passes(axis, k)) && words.every(word => searchName(k).includes(word)));
}

const ORDERS = { outcome: [means, data.higher], second: [metrics, data.second?.higher], seconds: [seconds, false], diverged: [bad, true] };
function ordered() {
  const key = order.replace(/^-/, "");
  if (order === "best") return selected;
  const [column, descending] = ORDERS[key], sign = (descending ? -1 : 1) * (order.startsWith("-") ? -1 : 1);
  return [...selected].sort((a, b) => {
    const x = column[a], y = column[b];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (x - y) || a - b;
  });
}

// The address remembers brushes by the names of axes, and pins by the places of levels.
const vector = k => data.axes.map((_, i) => codeOf(i, k)).join(".") || "0";
function remember() {
  pageState.set("brush", axes.filter(axis => axis.filter !== null).map(axis => `${axis.name}:${axis.kind === "levels" ? [...axis.filter].sort((a, b) => a - b).join(".") : axis.filter.map(end => Number.isFinite(end) ? end : "").join("~")}`));
  pageState.set("find", search);
  pageState.set("order", order === "best" ? "" : order);
  pageState.set("pair", pins.map(vector));
}
function recall() {
  for (const axis of axes) axis.filter = null;
  for (const text of pageState.list("brush")) {
    const at = text.lastIndexOf(":"), axis = axes.find(axis => axis.name === text.slice(0, at)), rest = text.slice(at + 1);
    if (axis?.kind === "levels") setFilter(axis, new Set(rest.split(".").filter(Boolean).map(Number).filter(code => code in axis.slots)));
    else if (axis) { const [low, high] = rest.split("~").map(end => end === "" || end === undefined ? NaN : Number(end)); setFilter(axis, [Number.isNaN(low) ? -Infinity : low, Number.isNaN(high) ? Infinity : high]); }
  }
  search = pageState.get("find");
  const wanted = pageState.get("order");
  order = Object.keys(ORDERS).includes(wanted.replace(/^-/, "")) ? wanted : "best";
  const vectors = pageState.list("pair");
  pins = vectors.length ? vectors.map(text => all.find(k => vector(k) === text)).filter(k => k !== undefined).slice(0, 2) : [];
  byId("search").value = search;
  byId("order").value = order.replace(/^-/, "");
  limit = SHOWN;
  showAll();
}

// Five digits, and never beyond the number itself: the end of an axis stays selected.
function roundOutward(value, isLow) {
  const unit = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 4), steps = value / unit;
  return Number(((isLow ? Math.floor(steps + 1e-6) : Math.ceil(steps - 1e-6)) * unit).toPrecision(6));
}

// A brush over everything is none.
function setFilter(axis, filter) {
  if (axis.kind === "levels") axis.filter = filter === null || filter.size === 0 || filter.size === axis.order.length ? null : filter;
  else if (filter === null) axis.filter = null;
  else {
    // Rounded, so that the address gives the same lines again.
    const [low, high] = filter.map((end, i) => Number.isFinite(end) && end !== 0 ? roundOutward(end, i === 0) : end);
    axis.filter = low <= axis.low && high >= axis.high ? null : [low <= axis.low ? -Infinity : low, high >= axis.high ? Infinity : high];
  }
}
function changed() { limit = SHOWN; remember(); showAll(); }
function showAll() { select(); showBrushes(); schedule(); showTable(); showPair(); }

// The plot: lines on a canvas, axes and brushes as HTML, marked lines as SVG.
const plot = byId("plot"), canvas = plot.querySelector("canvas"), overlay = plot.querySelector("svg"), tip = byId("tip");
const faint = document.createElement("canvas");
let frame = { width: 0 }, hovered = null, pending = false, isMoving = false;
// Browsers draw lines of one pixel many times faster than wider ones.
const pixel = () => 1 / Math.min(devicePixelRatio || 1, 2);
const slotsOfAll = Math.max(...axes.map(axis => axis.order?.length ?? 0), 1);

// Pixels along an axis and across the axes: an axis stands upright, or lies on narrow screens.
function layOut() {
  const width = plot.clientWidth, isStacked = width < NARROW;
  if (!width || width === frame.width) return;
  const start = isStacked ? 18 : 24, last = Math.max(axes.length - 1, 1);
  if (isStacked) frame = { isStacked, start, length: width - 2 * start - 26, first: 56, gap: 94 };
  else {
    const gap = Math.max(86, (width - start - 118) / last);
    frame = { isStacked, start: 64, length: Math.min(560, Math.max(300, 22 * slotsOfAll)), first: start, gap };
  }
  const across = frame.first + frame.gap * (axes.length - 1) + (isStacked ? 46 : 118), along = frame.start + frame.length + 30;
  Object.assign(frame, { width, w: isStacked ? width : Math.max(across, width), h: isStacked ? across : along });
  const sheet = plot.firstElementChild;
  sheet.style.width = `${frame.w}px`;
  sheet.style.height = `${frame.h}px`;
  sheet.style.setProperty("--gap", `${frame.gap}px`);
  sheet.style.setProperty("--print-zoom", Math.min(1, SHEET / frame.w));
  plot.classList.toggle("stacked", isStacked);
  byId("hint").hidden = frame.w <= width;
  const ratio = 1 / pixel();
  for (const each of [canvas, faint]) { each.width = frame.w * ratio; each.height = frame.h * ratio; each.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0); }
  canvas.style.width = `${frame.w}px`;
  canvas.style.height = `${frame.h}px`;
  overlay.setAttribute("viewBox", `0 0 ${frame.w} ${frame.h}`);
  axes.forEach(placeAxis);
  drawFaint();
  schedule();
}
const alongOf = position => frame.start + position * frame.length;
const acrossOf = i => frame.first + i * frame.gap;
const pointOf = (i, k) => { const along = alongOf(crossings[i][k]), across = acrossOf(i); return frame.isStacked ? [along, across] : [across, along]; };

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const isDark = matchMedia("(prefers-color-scheme: dark)"), onPaper = matchMedia("print");
let isPrinting = false;
const shades = () => data.shades[isDark.matches && !isPrinting && !onPaper.matches ? "dark" : "light"];
const shadeOf = k => { const position = outcomeAxis ? crossings[axes.indexOf(outcomeAxis)][k] : MISSING; return position > 1 ? -1 : Math.min(shades().length - 1, Math.floor(position * shades().length)); };

// At most so many, evenly by rank.
const thin = (rows, most) => rows.length <= most ? rows : Array.from({ length: most }, (_, i) => rows[Math.floor(i * rows.length / most)]);

function strokeLines(context, rows, style, alpha, width) {
  context.strokeStyle = style;
  context.globalAlpha = alpha;
  context.lineWidth = width;
  const across = axes.map((_, i) => acrossOf(i));
  for (const k of rows) {
    context.beginPath();
    for (let i = 0; i < axes.length; i++) {
      const along = alongOf(crossings[i][k]);
      if (frame.isStacked) context.lineTo(along, across[i]); else context.lineTo(across[i], along);
    }
    context.stroke();
  }
}

function drawFaint() {
  const context = faint.getContext("2d");
  context.clearRect(0, 0, frame.w, frame.h);
  strokeLines(context, thin(all, MOST_FAINT), colour("--edge"), size > 400 ? 0.1 : 0.22, pixel());
}

function draw() {
  pending = false;
  if (!frame.width) return;
  const context = canvas.getContext("2d"), rows = thin(selected, isMoving ? MOST_MOVING : MOST_LINES), palette = shades();
  context.clearRect(0, 0, frame.w, frame.h);
  if (selected.length < size) { context.globalAlpha = 1; context.drawImage(faint, 0, 0, frame.w, frame.h); }
  // The best last, so that they lie on top.
  const groups = Array.from({ length: palette.length + 1 }, () => []);
  for (const k of rows) groups[shadeOf(k) + 1].push(k);
  const alpha = Math.max(0.22, Math.min(0.9, 14 / Math.sqrt(rows.length)));
  strokeLines(context, groups[0], colour("--undecided"), alpha, pixel());
  for (let shade = palette.length - 1; shade >= 0; shade--) strokeLines(context, groups[shade + 1], palette[shade], alpha, rows.length < 60 ? 1.6 : pixel());
  context.globalAlpha = 1;
  drawMarked();
  if (!isMoving) byId("cap").textContent = selected.length > rows.length ? `${count(rows.length, "line")} of these ${selected.length.toLocaleString("en")} are drawn, evenly by rank; the table, the count and the download have all.` : "";
}
function schedule() { if (!pending) { pending = true; requestAnimationFrame(draw); } }

const lineOf = k => axes.map((_, i) => pointOf(i, k).map(x => x.toFixed(1)).join(",")).join(" ");
function drawMarked() {
  overlay.replaceChildren();
  const marked = [...pins.map((k, i) => [k, i ? "second" : "first"]), ...(hovered === null || pins.includes(hovered) ? [] : [[hovered, "hovered"]])];
  for (const [k, looks] of marked) overlay.append(shape("polyline", { points: lineOf(k), class: "halo" }), shape("polyline", { points: lineOf(k), class: `line ${looks}` }));
  // Beside the start of their lines, and apart where these meet.
  const places = pins.map(k => pointOf(0, k)), side = frame.isStacked ? 0 : 1;
  if (pins.length === 2 && Math.abs(places[0][side] - places[1][side]) < 18) {
    const middle = (places[0][side] + places[1][side]) / 2, first = places[0][side] <= places[1][side] ? -9 : 9;
    places[0][side] = middle + first;
    places[1][side] = middle - first;
  }
  const push = frame.isStacked ? Math.max(0, 10 - Math.min(...places.map(([x]) => x))) : 0;
  places.forEach(([x, y], i) => {
    const group = shape("g", { class: `pin ${i ? "second" : "first"}`, transform: `translate(${frame.isStacked ? x + push : x - 15} ${frame.isStacked ? y - 15 : y})` });
    group.append(shape("circle", { r: 8 }), shape("text", { y: 4, "text-anchor": "middle" }, "AB"[i]));
    overlay.append(group);
  });
}

// One axis: its name, its levels or ticks, and what brushes it.
function buildAxis(axis, i) {
  const id = `explorer-axis-${i}`, name = node("div", { class: "axis-name", id }, node("b", {}, axis.name));
  if (["outcome", "second", "time"].includes(axis.role)) name.append(node("small", {}, axis.higher ? "higher is better" : "lower is better"));
  const strip = node("div", { class: "axis-strip", "data-role": axis.role });
  axis.parts = { name, strip };
  if (axis.kind === "levels") {
    Object.assign(strip, { tabIndex: -1 });
    strip.setAttribute("role", "listbox");
    strip.setAttribute("aria-multiselectable", "true");
    strip.setAttribute("aria-labelledby", `${id} explorer-keys-levels`);
    axis.parts.options = axis.order.map((code, slot) => node("div", { role: "option", tabindex: slot ? -1 : 0, "aria-selected": "false", "aria-label": axis.labels[code], title: axis.labels[code], class: code === axis.control ? "control" : null }, node("span", {}, axis.labels[code])));
    strip.append(...axis.parts.options);
    strip.addEventListener("keydown", event => chooseByKey(axis, event));
  } else {
    axis.parts.ticks = node("div", { class: "ticks", "aria-hidden": "true" });
    axis.parts.brush = node("div", { class: "brush" });
    axis.parts.thumbs = ["first", "last"].map((end, which) => {
      const thumb = node("div", { role: "slider", tabindex: 0, class: `thumb ${end}`, "aria-label": `${axis.name}: ${which === (axis.higher ? 0 : 1) ? "highest" : "lowest"} value`, "aria-valuemin": axis.low, "aria-valuemax": axis.high });
      thumb.addEventListener("keydown", event => moveByKey(axis, which, event));
      return thumb;
    });
    strip.append(axis.parts.ticks, axis.parts.brush, ...axis.parts.thumbs);
  }
  strip.addEventListener("pointerdown", event => brush(axis, event));
  plot.firstElementChild.append(name, strip);
}

function placeAxis(axis, i) {
  const { name, strip } = axis.parts, across = acrossOf(i), stacked = frame.isStacked;
  const place = (element, along, at) => { element.style.left = `${stacked ? along : at}px`; element.style.top = `${stacked ? at : along}px`; };
  place(name, stacked ? frame.start : 0, stacked ? across - (i ? 32 : 50) : across - 8);
  if (!stacked) name.style.top = "0px";
  place(strip, frame.start, across);
  strip.style.width = stacked ? `${frame.length}px` : "0px";
  strip.style.height = stacked ? "0px" : `${frame.length}px`;
  if (axis.kind === "levels") {
    ruler.font = getComputedStyle(axis.parts.options[0]).font;
    const step = frame.length / axis.order.length, room = stacked ? 20 : 13, every = Math.max(1, Math.ceil(room / step));
    // Where labels are long, those that lie side by side take turns in two rows.
    const alternate = stacked && axis.labels.some(label => 7 * label.length > step);
    strip.classList.toggle("alternate", alternate);
    const shorter = shorterNames(axis);
    axis.parts.options.forEach((option, slot) => {
      place(option, slot * step, 0);
      option.style.width = stacked ? `${step}px` : "";
      option.style.height = stacked ? "" : `${step}px`;
      option.classList.toggle("unlabelled", slot % every > 0);
      option.classList.toggle("lower", alternate && slot / every % 2 === 1);
      const code = axis.order[slot], middle = frame.start + (slot + 0.5) * step;
      const space = stacked ? Math.min((alternate ? 2 : 1) * every * step - 10, 2 * Math.min(middle, frame.w - middle) - 8) : frame.gap - 28;
      option.firstChild.textContent = shorten(axis.labels[code], space, shorter[code]);
    });
  } else {
    const values = chooseTicks(axis, frame.length, stacked ? 56 : 34), texts = labelTicks(values);
    const ticks = values.map((value, i) => {
      const tick = node("span", {}, texts[i]);
      place(tick, axis.place(value) * frame.length, 0);
      return tick;
    });
    if (axis.gaps) { const tick = node("span", {}, "none"); place(tick, MISSING * frame.length, 0); ticks.push(tick); }
    axis.parts.ticks.replaceChildren(...ticks);
    if (axis.role === "outcome") { plot.parentElement.style.setProperty("--best", shades()[0]); plot.parentElement.style.setProperty("--worst", shades().at(-1)); strip.style.setProperty("--shades", `linear-gradient(to ${stacked ? "right" : "bottom"}, ${shades().join(", ")})`); }
    showBrush(axis);
  }
}

// As many digits as the ticks of an axis need to differ.
function labelTicks(values) {
  for (let digits = 3; digits < 8; digits++) {
    const texts = values.map(value => brief(value, digits));
    if (new Set(texts).size === texts.length || digits === 7) return texts;
  }
}

// Round numbers on the scale of an axis, from its better end on, at least `room` pixels apart.
function chooseTicks({ low, high, isLog, place }, length, room) {
  if (!(high > low)) return [low].filter(Number.isFinite);
  const most = Math.max(2, Math.floor(length / room)), ticks = [];
  if (isLog && high / low > 2.5) {
    const steps = high / low > 300 ? [1] : high / low > 25 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(3)));
  } else {
    const raw = (high - low) / most, unit = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find(each => each * unit >= raw) * unit;
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(6)));
  }
  const inside = ticks.filter(value => value >= low && value <= high).sort((a, b) => place(a) - place(b));
  let previous = -Infinity;
  return inside.filter(value => { const at = place(value) * length; if (at - previous < room) return false; previous = at; return true; });
}

// What is brushed, along an axis from 0 to 1.
const span = axis => axis.filter === null ? [0, 1] : axis.filter.map(end => Math.min(1, Math.max(0, Number.isFinite(end) ? axis.place(end) : (end < 0) === axis.higher ? 1 : 0))).sort((a, b) => a - b);
function showBrush(axis) {
  if (axis.kind === "levels") {
    axis.parts.options.forEach((option, slot) => {
      const on = axis.filter !== null && axis.filter.has(axis.order[slot]);
      option.setAttribute("aria-selected", String(on));
      option.classList.toggle("out", axis.filter !== null && !on);
    });
    return;
  }
  const [first, last] = span(axis), [from, extent] = frame.isStacked ? ["left", "width"] : ["top", "height"];
  const { brush, thumbs } = axis.parts;
  brush.hidden = axis.filter === null;
  brush.style.cssText = `${from}: ${first * frame.length}px; ${extent}: ${(last - first) * frame.length}px`;
  thumbs.forEach((thumb, which) => {
    const value = axis.filter === null || !Number.isFinite(axis.filter[which === (axis.higher ? 0 : 1) ? 1 : 0]) ? (which === (axis.higher ? 0 : 1) ? axis.high : axis.low) : axis.filter[which === (axis.higher ? 0 : 1) ? 1 : 0];
    thumb.style.cssText = `${from}: ${(which ? last : first) * frame.length}px`;
    thumb.setAttribute("aria-valuenow", value);
    thumb.setAttribute("aria-valuetext", number(value));
    thumb.setAttribute("aria-orientation", frame.isStacked ? "horizontal" : "vertical");
  });
}

function showBrushes() {
  if (frame.width) axes.forEach(showBrush);
  const chips = axes.filter(axis => axis.filter !== null).map(axis => {
    const text = axis.kind === "levels" ? axis.order.filter(code => axis.filter.has(code)).map(code => axis.labels[code]).join(", ") : describeRange(axis);
    const chip = node("button", { type: "button", class: "chip", "aria-label": `Clear ${axis.name}: ${text}` }, node("b", {}, axis.name), ` ${text} `, node("span", { "aria-hidden": "true" }, "×"));
    chip.addEventListener("click", () => { setFilter(axis, null); changed(); (byId("chips").querySelector("button") ?? byId("search")).focus(); });
    return chip;
  });
  byId("chips").replaceChildren(...chips);
  byId("clear").hidden = !chips.length && !search;
}
const describeRange = ({ filter: [low, high] }) => Number.isFinite(low) && Number.isFinite(high) ? `${number(low)} to ${number(high)}` : Number.isFinite(low) ? `at least ${number(low)}` : `at most ${number(high)}`;

// Brushing by mouse, pen and touch.
function brush(axis, event) {
  if (event.button) return;
  const strip = axis.parts.strip, box = strip.getBoundingClientRect();
  const positionOf = each => Math.min(1, Math.max(0, frame.isStacked ? (each.clientX - box.left) / frame.length : (each.clientY - box.top) / frame.length));
  const start = positionOf(event), before = axis.filter, near = 10 / frame.length;
  const slotOf = position => Math.min(axis.order.length - 1, Math.floor(position * axis.order.length));
  const thumb = axis.kind === "levels" ? -1 : event.target.classList.contains("thumb") ? axis.parts.thumbs.indexOf(event.target) : before === null ? -1 : span(axis).findIndex(end => Math.abs(end - start) < near);
  const [first, last] = axis.kind === "levels" ? [] : span(axis), moves = before !== null && thumb < 0 && start > first && start < last;
  let moved = false;
  const setRange = (a, b) => { const ends = [a, b].sort((x, y) => x - y).map(end => end <= 0 ? (axis.higher ? Infinity : -Infinity) : end >= 1 ? (axis.higher ? -Infinity : Infinity) : axis.valueAt(end)); setFilter(axis, axis.higher ? ends.reverse() : ends); };
  function move(each) {
    const now = positionOf(each);
    moved ||= Math.abs(now - start) * frame.length > 4;
    if (!moved) return;
    if (axis.kind === "levels") {
      const [from, to] = [slotOf(start), slotOf(now)].sort((a, b) => a - b);
      setFilter(axis, new Set(axis.order.slice(from, to + 1)));
    } else if (thumb >= 0) setRange(now, thumb ? first : last);
    else if (moves) { const shift = Math.min(1 - last, Math.max(-first, now - start)); setRange(first + shift, last + shift); }
    else setRange(start, now);
    isMoving = true;
    select();
    showBrushes();
    showCount();
    schedule();
  }
  function end(each) {
    isMoving = false;
    strip.removeEventListener("pointermove", move);
    strip.removeEventListener("pointerup", end);
    strip.removeEventListener("pointercancel", end);
    if (each.type === "pointercancel") axis.filter = before;
    else if (!moved && axis.kind === "levels") toggle(axis, axis.order[slotOf(start)]);
    else if (!moved && thumb < 0) setFilter(axis, null);
    changed();
  }
  strip.setPointerCapture(event.pointerId);
  strip.addEventListener("pointermove", move);
  strip.addEventListener("pointerup", end);
  strip.addEventListener("pointercancel", end);
}
function toggle(axis, code) {
  const filter = new Set(axis.filter ?? []);
  if (!filter.delete(code)) filter.add(code);
  setFilter(axis, filter);
}

// Brushing by keyboard: arrows move among levels, Space chooses, Shift and an arrow extends; on an
// axis of numbers arrows move the end that has the focus.
const AHEAD = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
function chooseByKey(axis, event) {
  const { options } = axis.parts, at = options.indexOf(document.activeElement), last = options.length - 1;
  const next = { Home: 0, End: last }[event.key] ?? (event.key in AHEAD ? Math.min(last, Math.max(0, at + AHEAD[event.key])) : null);
  if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  if (next !== null) {
    options.forEach((option, slot) => { option.tabIndex = slot === next ? 0 : -1; });
    options[next].focus();
    if (event.shiftKey) setFilter(axis, new Set([...(axis.filter ?? []), axis.order[at], axis.order[next]]));
  } else if (event.key === " " || event.key === "Enter") toggle(axis, axis.order[at]);
  else if (event.key === "Escape" || event.key === "Delete" || event.key === "Backspace") setFilter(axis, null);
  else return;
  event.preventDefault();
  if (next === null || event.shiftKey) changed();
}
function moveByKey(axis, which, event) {
  const ends = span(axis), step = { PageDown: 0.1, PageUp: -0.1 }[event.key] ?? (event.key in AHEAD ? AHEAD[event.key] / 50 : null);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (step !== null) ends[which] += step;
  else if (event.key === "Home") ends[which] = 0;
  else if (event.key === "End") ends[which] = 1;
  else if (["Escape", "Delete", "Backspace"].includes(event.key)) ends.splice(0, 2, 0, 1);
  else return;
  event.preventDefault();
  // One end does not pass the other.
  ends[which] = which ? Math.max(ends[0], Math.min(1, ends[1])) : Math.min(ends[1], Math.max(0, ends[0]));
  const bounds = ends.map((end, i) => end <= 1e-9 && i === 0 ? null : end >= 1 - 1e-9 && i === 1 ? null : axis.valueAt(end));
  const [low, high] = axis.higher ? [bounds[1], bounds[0]] : bounds;
  setFilter(axis, [low ?? -Infinity, high ?? Infinity]);
  changed();
}

// The line below the pointer.
function nearest(x, y, reach = NEAR) {
  const [across, along] = frame.isStacked ? [y, x] : [x, y], i = Math.floor((across - frame.first) / frame.gap);
  if (axes.length < 2 || i < 0 || i >= axes.length - 1) return null;
  const share = (across - acrossOf(i)) / frame.gap, from = crossings[i], to = crossings[i + 1];
  let best = null, distance = reach;
  for (const k of thin(selected, MOST_LINES)) {
    const slope = (to[k] - from[k]) * frame.length / frame.gap;
    const away = Math.abs(alongOf(from[k] + share * (to[k] - from[k])) - along) / Math.hypot(1, slope);
    if (away < distance) { best = k; distance = away; }
  }
  return best;
}
function hover(k, x = 0, y = 0) {
  if (k !== hovered) { hovered = k; drawMarked(); }
  tip.hidden = k === null || !x;
  if (tip.hidden) return;
  tip.replaceChildren(node("b", {}, nameOf(k)), ` ${data.outcome.name} ${number(means[k])}${Number.isFinite(lows[k]) ? ` (${interval(lows[k], highs[k])})` : ""} `, node("i", {}, pins.includes(k) ? "Click to unpin" : "Click to pin"));
  tip.style.left = `${Math.max(4, Math.min(x + 14, frame.w - tip.offsetWidth - 4))}px`;
  tip.style.top = `${y + 16 + tip.offsetHeight > frame.h ? y - tip.offsetHeight - 10 : y + 16}px`;
}
function locate(event) { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; }

// The table of selected configurations.
const rowsOf = new Map();
function showCount() { byId("count").textContent = `${selected.length.toLocaleString("en")} of ${size.toLocaleString("en")} configurations`; }
function showTable() {
  const rows = ordered();
  showCount();
  byId("rows").replaceChildren(...rows.slice(0, limit).flatMap(k => rowsOf.get(k) ?? newRow(k)));
  for (const k of rows.slice(0, limit)) showPin(k);
  byId("none").hidden = rows.length > 0;
  const more = byId("more");
  more.hidden = rows.length <= limit;
  more.textContent = `Show ${Math.min(SHOWN, rows.length - limit)} more`;
  const runs = selected.reduce((total, k) => total + starts[k + 1] - starts[k], 0);
  byId("download").textContent = `Download ${count(runs, "run")} as CSV`;
  byId("download").disabled = runs === 0;
  for (const head of document.querySelectorAll("#table-explorer [data-order]")) {
    const descends = ORDERS[head.dataset.order][1] !== order.startsWith("-");
    if (order.replace(/^-/, "") === head.dataset.order) head.setAttribute("aria-sort", descends ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

function newRow(k) {
  const open = node("button", { type: "button", class: "opens", "aria-expanded": "false", "aria-label": `Runs of ${nameOf(k)}` }, (k + 1).toLocaleString("en"));
  const pin = node("button", { type: "button", class: "pins", "aria-pressed": "false", "aria-label": `Pin ${nameOf(k)}` }, "Pin");
  const cells = data.axes.map((axis, i) => node("td", { class: codeOf(i, k) === axis.control ? "level control" : "level", title: axis.labels[codeOf(i, k)].length > 36 ? axis.labels[codeOf(i, k)] : null }, cut(axis.labels[codeOf(i, k)])));
  const cell = (value, looks = "number", text = number(value)) => node("td", { class: looks, "data-value": Number.isFinite(value) ? value : null }, text);
  const range = node("td", { class: "number interval", "data-low": Number.isFinite(lows[k]) ? lows[k] : null, "data-high": Number.isFinite(highs[k]) ? highs[k] : null }, interval(lows[k], highs[k]));
  const line = node("tr", { "data-configuration": k }, node("td", { class: "handles" }, open, " ", pin), ...cells, cell(means[k]), range, ...(hasMetric ? [cell(metrics[k])] : []), ...(hasSeconds ? [cell(seconds[k])] : []), node("td", {}, describeEndings(k)));
  const body = node("td", { colspan: line.cells.length }), below = node("tr", { class: "runs" }, body);
  below.hidden = true;
  open.addEventListener("click", () => {
    below.hidden = !below.hidden;
    open.setAttribute("aria-expanded", String(!below.hidden));
    // Made once, so that what was opened stays open.
    if (!body.hasChildNodes()) body.append(node("div", { class: "explorer-runs" }, ...detail(k)));
  });
  pin.addEventListener("click", () => togglePin(k));
  line.addEventListener("pointerenter", () => hover(k));
  line.addEventListener("pointerleave", () => hover(null));
  rowsOf.set(k, [line, below]);
  return [line, below];
}
function showPin(k) {
  const [line] = rowsOf.get(k), pin = line.querySelector(".pins"), place = pins.indexOf(k);
  pin.setAttribute("aria-pressed", String(place >= 0));
  pin.textContent = place < 0 ? "Pin" : "AB"[place];
}

function detail(k) {
  const runs = runsOf(k), parts = [], curves = curvesOf(k);
  if (curves) parts.push(chart([{ label: "", looks: "first", ...curves }], `${curves.seeds ? `${count(curves.seeds, "seed")} and their mean` : "mean over seeds"}`));
  const head = ["seed", "ended", data.outcome.name, ...(hasMetric ? [data.second.name] : []), "to run it again, in the folder of this page"];
  const lines = runs.map(run => {
    const command = `ablations rerun . ${run.id}`, copy = node("button", { type: "button", "aria-label": `Copy the command of seed ${run.seed}` }, "Copy");
    copy.addEventListener("click", () => copyText(command, copy));
    return node("tr", {}, node("td", { class: "number" }, String(run.seed)), node("td", {}, run.status), node("td", { class: "number" }, number(run.value)), ...(hasMetric ? [node("td", { class: "number" }, number(run.score))] : []), node("td", {}, node("code", {}, command), " ", ...(run.status === "skipped" ? [] : [copy])));
  });
  const table = node("table", {}, node("thead", {}, node("tr", {}, ...head.map((text, i) => node("th", { scope: "col", class: i === 1 || i === head.length - 1 ? null : "number" }, text)))), node("tbody", {}, ...lines));
  parts.push(node("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Runs of ${nameOf(k)}` }, table));
  return parts;
}

// Two configurations side by side.  A third replaces the one that was pinned first.
function togglePin(k) {
  pins = pins.includes(k) ? pins.filter(pin => pin !== k) : [...pins, k].slice(-2);
  remember();
  showTable();
  showPair();
  schedule();
  byId("said").textContent = pins.length ? `${pins.map((pin, i) => `${"AB"[i]} is ${nameOf(pin)}`).join("; ")}.` : "Nothing is pinned.";
}

function showPair() {
  const panel = byId("pair");
  panel.hidden = !pins.length;
  if (!pins.length) return;
  const bodies = pins.map((k, i) => [node("span", { class: `explorer-badge ${i ? "second" : "first"}` }, "AB"[i]), nameOf(k)]);
  const heads = pins.map((k, i) => {
    const unpin = node("button", { type: "button", "aria-label": `Unpin ${"AB"[i]}` }, "Unpin");
    unpin.addEventListener("click", () => { togglePin(k); (panel.hidden ? byId("search") : panel.querySelector("button")).focus(); });
    return node("th", { scope: "col" }, bodies[i][0], " ", unpin);
  });
  const both = pins.length === 2, rows = [];
  const row = (title, cells, looks) => rows.push(node("tr", looks ? { class: looks } : {}, node("th", { scope: "row" }, title), ...cells));
  data.axes.forEach((axis, i) => {
    const differs = both && codeOf(i, pins[0]) !== codeOf(i, pins[1]);
    row(axis.name, [...pins.map(k => node("td", {}, ...breakable(axis.labels[codeOf(i, k)]))), ...(both ? [node("td", {}, differs ? "differs" : "same")] : [])], !both ? "" : differs ? "differs" : "same");
  });
  numberRow(row, data.outcome.name, "value", data.scale, pins.map(k => [means[k], lows[k], highs[k]]), "outcome");
  if (hasMetric) numberRow(row, data.second.name, "score", data.second.scale, pins.map(k => [metrics[k], metricLows[k], metricHighs[k]]), "second");
  if (hasSeconds) row("run time\u00a0(s)", [...pins.map(k => node("td", { class: "number", "data-value": seconds[k] }, number(seconds[k]))), ...(both ? [node("td", { class: "number" }, writeRatio(seconds[pins[1]] / seconds[pins[0]]))] : [])]);
  row("seeds", [...pins.map(k => node("td", {}, describeEndings(k))), ...(both ? [node("td", {}, describePairs())] : [])]);
  const table = node("table", {}, node("thead", {}, node("tr", {}, node("td"), ...heads, ...(both ? [node("th", { scope: "col" }, "B against A")] : []))), node("tbody", {}, ...rows));
  const left = node("div", {}, node("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The pinned configurations side by side" }, table), node("p", { class: "note" }, both ? describeDifference() : "Pin a second configuration, by its row or its line, to compare the two."));
  const drawings = pins.map((k, i) => ({ label: "AB"[i], looks: i ? "second" : "first", ...curvesOf(k) })).filter(each => each.mean);
  const right = node("div", {}, ...(drawings.length ? [chart(drawings, "mean over seeds, each seed faint")] : []), ...pins.map((k, i) => commands(k, "AB"[i])));
  byId("pair-body").replaceChildren(left, right);
}

function numberRow(row, title, key, scale, numbers, measure) {
  const cells = numbers.map(([mean, low, high]) => node("td", { class: "number", "data-value": Number.isFinite(mean) ? mean : null, "data-low": Number.isFinite(low) ? low : null, "data-high": Number.isFinite(high) ? high : null }, number(mean), node("small", {}, interval(low, high))));
  if (pins.length === 2) {
    const { ends, n } = compare(...pins, key, scale), plain = scale === "log" ? ends.map(Math.expm1) : ends;
    const cell = node("td", { class: "number difference", "data-measure": measure, "data-n": n }, ...(n ? writeDifference(ends, scale) : ["–"]));
    if (n) cell.dataset.value = plain[0];
    if (n > 1) { cell.dataset.low = plain[1]; cell.dataset.high = plain[2]; }
    cells.push(cell);
  }
  row(title, cells);
}
// In percent and as ratios, of which the page shows one.
function writeDifference(ends, scale) {
  const parts = (write, looks) => { const [mean, low, high] = ends.map(write); return node("span", { class: looks }, mean, ...(low === "–" ? [] : [node("small", {}, `${low} to ${high}`)])); };
  if (scale !== "log") return [parts(writeSigned)];
  const ratio = end => writeRatio(Math.exp(end)), isLarge = ends.some(end => Math.exp(end) >= 10 || Math.exp(end) <= 0.1);
  return isLarge ? [parts(ratio)] : [parts(end => writePercent(Math.exp(end)), "in-percent"), parts(ratio, "in-ratio")];
}
const okRuns = (k, key) => new Map(runsOf(k).filter(run => run.status === "ok" && Number.isFinite(run[key])).map(run => [run.seed, run[key]]));
function compare(a, b, key, scale) {
  const first = okRuns(a, key), second = okRuns(b, key), seeds = [...first.keys()].filter(seed => second.has(seed));
  const f = scale === "log" ? Math.log : value => value;
  return { n: seeds.length, seeds, ends: estimate(seeds.map(seed => f(second.get(seed)) - f(first.get(seed))), seeds) };
}
function describePairs() {
  const { n } = compare(...pins, "value", data.scale), most = Math.max(...pins.map(k => okRuns(k, "value").size));
  return n === most ? count(n, "pair") : `${count(n, "pair")}; not all seeds ended well in both`;
}
const level = `${Number((100 * data.confidence).toPrecision(4))}${NARROW_SPACE}%`;
function describeDifference() {
  const { n } = compare(...pins, "value", data.scale);
  if (!n) return "No seed ended well in both, so that there is nothing to pair.";
  if (n < 2) return "B against A on the one seed that ended well in both: without an interval.";
  return `B against A is the mean over ${n} seeds of the ${data.scale === "log" ? "ratio (geometric)" : "difference"}, paired by seed, with its ${level} interval${data.overlap ? ", for new data like this table" : ""}. Configurations picked for their numbers look further apart than they are.`;
}
function commands(k, letter) {
  const lines = runsOf(k).filter(run => run.status !== "skipped").map(run => `ablations rerun . ${run.id}`), text = lines.join("\n");
  const copy = node("button", { type: "button" }, `Copy ${count(lines.length, "command")}`);
  copy.addEventListener("click", () => copyText(text, copy));
  return node("details", {}, node("summary", {}, `To run ${letter} again`), node("pre", { tabindex: 0, role: "region", "aria-label": `Commands to run ${letter} again, a line a seed` }, text), copy);
}

// Mean of differences by seed and its interval, as in the analysis (analysis.scope.MeanEffects).
function estimate(d, seeds) {
  const n = d.length, sum = numbers => numbers.reduce((total, x) => total + x, 0), mean = sum(d) / n;
  if (n < 2) return [mean, NaN, NaN];
  const groups = data.splits === null ? seeds : seeds.map(seed => data.splits[data.seeds.indexOf(seed)]);
  if (new Set(groups).size === n) {
    const half = data.t[n - 2] * Math.sqrt(sum(d.map(x => (x - mean) ** 2)) / (n - 1) * (1 / n + data.overlap));
    return [mean, mean - half, mean + half];
  }
  return mixture(d.map(x => x - mean), groups, sum).map(end => mean + end);
}
// Seeds that repeat a split of the data: Student's distributions, mixed over the split's share of
// the variance (analysis.posterior).
function mixture(d, groups, sum) {
  const n = d.length, splits = [...new Set(groups)].map(group => d.filter((_, i) => groups[i] === group));
  const centres = splits.map(split => sum(split) / split.length), perSplit = n / splits.length;
  const within = sum(splits.flatMap((split, g) => split.map(x => (x - centres[g]) ** 2)));
  const nodes = data.nodes[0].map((ratio, j) => {
    const share = (ratio - 1) / (ratio - 1 + perSplit), rest = 1 - share;
    const precisions = splits.map(split => 1 / (share + rest / split.length)), total = sum(precisions);
    const location = sum(precisions.map((precision, g) => precision * centres[g])) / total;
    const between = Math.max(sum(precisions.map((precision, g) => precision * centres[g] ** 2)) - total * location ** 2, 0);
    const squares = between + (within > 0 ? within / rest : 0);
    let fit = squares > 0 ? -(n - 1) / 2 * Math.log(squares) : 0;
    if (rest > 0) fit -= (n - splits.length) * Math.log(rest) / 2;
    fit += sum(precisions.map(Math.log)) / 2 - Math.log(total) / 2;
    return { location, fit, prior: data.nodes[1][j], scale: Math.sqrt(squares / (n - 1) * (1 / total + data.overlap * share)) };
  });
  const best = Math.max(...nodes.map(each => each.fit)), weights = nodes.map(each => each.prior * Math.exp(each.fit - best)), total = sum(weights);
  const below = x => sum(nodes.map((each, j) => weights[j] * (each.scale ? student((x - each.location) / each.scale, n - 1) : Number(x > each.location)))) / total;
  const quantile = (share, t) => {
    let low = Math.min(...nodes.map(each => each.location + t * each.scale)), high = Math.max(...nodes.map(each => each.location + t * each.scale));
    for (let i = 0; i < 40; i++) { const middle = (low + high) / 2; if (below(middle) < share) low = middle; else high = middle; }
    return (low + high) / 2;
  };
  const tail = (1 - data.confidence) / 2, t = data.t[n - 2];
  return [sum(nodes.map((each, j) => weights[j] * each.location)) / total, quantile(tail, -t), quantile(1 - tail, t)];
}
// Student's distribution, by the continued fraction of the incomplete beta function (Lentz's method).
function student(t, degrees) {
  const x = degrees / (degrees + t * t), a = degrees / 2, b = 0.5;
  const tail = (x < (a + 1) / (a + b + 2) ? beta(x, a, b) : 1 - beta(1 - x, b, a)) / 2;
  return t > 0 ? 1 - tail : tail;
}
function beta(x, a, b) {
  if (x <= 0) return 0;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  let c = 1, d = 1 / (1 - (a + b) * x / (a + 1)), f = d;
  for (let m = 1; m <= 300; m++) {
    for (const numerator of [m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))]) {
      d = 1 / (1 + numerator * d);
      c = 1 + numerator / c;
      f *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-15) break;
  }
  return front * f;
}
function logGamma(x) {
  // Stirling's series, from 10 on.
  let shift = 0;
  for (; x < 10; x++) shift -= Math.log(x);
  return shift + (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5) - 1 / (1680 * x ** 7);
}

// Curves over epochs.
function curvesOf(k) {
  if (!curves.length) return null;
  const curveAt = i => curves.subarray(i * EPOCHS, (i + 1) * EPOCHS);
  const lines = isBySeed ? runsOf(k).map(run => ({ seed: run.seed, points: curveAt(run.at) })).filter(line => line.points.some(Number.isFinite)) : [];
  if (isBySeed && !lines.length || !isBySeed && !curveAt(k).some(Number.isFinite)) return null;
  const isLog = lines.every(line => line.points.every(value => !(value <= 0)));
  const mean = isBySeed ? data.epochs.map((_, e) => {
    const present = lines.map(line => line.points[e]).filter(Number.isFinite), total = present.reduce((sum, value) => sum + (isLog ? Math.log(value) : value), 0) / present.length;
    return isLog ? Math.exp(total) : total;
  }) : [...curveAt(k)];
  return { lines, mean, seeds: lines.length };
}
function chart(series, note) {
  const W = 360, H = 200, left = 52, right = 22, bottom = 26, top = 10;
  const points = series.flatMap(each => [...each.mean, ...each.lines.flatMap(line => [...line.points])]).filter(Number.isFinite);
  const low = points.reduce((a, b) => Math.min(a, b)), high = points.reduce((a, b) => Math.max(a, b)), first = data.epochs[0], last = data.epochs.at(-1);
  const isLog = low > 0 && high / low > 4, f = isLog ? Math.log : value => value, range = f(high) - f(low) || 1;
  const x = epoch => left + (epoch - first) / Math.max(last - first, 1) * (W - left - right), y = value => top + (f(high) - f(value)) / range * (H - top - bottom);
  const picture = shape("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": `Validation loss by epoch, ${note}: from ${number(high)} at most to ${number(low)} at least` });
  const axis = { low, high, isLog, place: value => (f(high) - f(value)) / range };
  const values = chooseTicks(axis, H - top - bottom, 24), texts = labelTicks(values);
  for (const [i, value] of values.entries()) picture.append(shape("line", { x1: left, x2: W - right, y1: y(value), y2: y(value), class: "grid" }), shape("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, texts[i]));
  for (const [epoch, anchor] of [[first, "start"], [last, "end"]]) picture.append(shape("text", { x: x(epoch), y: H - 8, "text-anchor": anchor }, `epoch ${epoch}`));
  picture.append(shape("text", { x: (left + W - right) / 2, y: H - 8, "text-anchor": "middle" }, "validation loss"));
  const path = line => [...line].map((value, e) => Number.isFinite(value) ? `${x(data.epochs[e]).toFixed(1)},${y(value).toFixed(1)}` : "").filter(Boolean).join(" ");
  for (const { lines, looks } of series) for (const line of lines) {
    const curve = shape("polyline", { points: path(line.points), class: `curve ${looks}` });
    curve.append(shape("title", {}, `seed ${line.seed}`));
    picture.append(curve);
  }
  const places = [];
  for (const { mean, looks, label } of series) {
    picture.append(shape("polyline", { points: path(mean), class: `mean ${looks}` }));
    const end = mean.findLastIndex(Number.isFinite);
    let at = y(mean[end]) + 4;
    if (places.length && Math.abs(places[0] - at) < 14) at = places[0] + (at < places[0] ? -14 : 14);
    places.push(at);
    if (label) picture.append(shape("text", { x: x(data.epochs[end]) + 7, y: at, class: `label ${looks}` }, label));
  }
  return picture;
}
byId("download").addEventListener("click", () => {
  const head = [...data.axes.map(axis => axis.name), "seed", "run_id", "status", data.outcome.column, ...(hasMetric ? [data.second.column] : [])];
  const text = value => Number.isFinite(value) ? String(value) : "";
  const rows = selected.flatMap(k => runsOf(k).map(run => [...data.axes.map((axis, i) => axis.levels[codeOf(i, k)]), String(run.seed), run.id, run.status, text(run.value), ...(hasMetric ? [text(run.score)] : [])]));
  saveFile("runs.csv", FORMATS.CSV([head, ...rows]), "text/csv");
});
byId("search").addEventListener("input", event => { search = event.target.value.trim(); changed(); });
byId("order").addEventListener("change", event => { order = event.target.value; changed(); });
for (const head of document.querySelectorAll("#table-explorer [data-order]")) head.querySelector("button").addEventListener("click", () => {
  const key = head.dataset.order;
  order = order === key ? `-${key}` : key;
  byId("order").value = key;
  changed();
});
byId("more").addEventListener("click", () => { limit += SHOWN; showTable(); });
byId("clear").addEventListener("click", () => { for (const axis of axes) setFilter(axis, null); search = byId("search").value = ""; changed(); byId("search").focus(); });
plot.addEventListener("pointermove", event => { if (event.target === canvas && event.pointerType !== "touch") { const [x, y] = locate(event); hover(nearest(x, y), x, y); } else if (event.target !== canvas) hover(null); });
plot.addEventListener("pointerleave", () => hover(null));
canvas.addEventListener("click", event => { const k = nearest(...locate(event), event.pointerType === "touch" ? 3 * NEAR : NEAR); if (k !== null) togglePin(k); });
function recolour() { if (!frame.width) return; axes.forEach(placeAxis); drawFaint(); draw(); }
for (const media of [isDark, onPaper]) media.addEventListener("change", recolour);
// Paper is light, and does not wait for the next frame.
for (const name of ["beforeprint", "afterprint"]) addEventListener(name, () => { isPrinting = name === "beforeprint"; recolour(); });

byId("all").hidden = false;
axes.forEach(buildAxis);
new ResizeObserver(layOut).observe(plot);
layOut();
pageState.restore(recall);
}
