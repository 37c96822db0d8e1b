const known = JSON.parse(document.getElementById("explorer-data").textContent);
const AXES = known.axes.length, SHOWN = 25;
const [MEAN, LOW, HIGH, METRIC, SECONDS, OK, DIVERGED, FAILED, SKIPPED] = Array.from({ length: 9 }, (_, i) => AXES + i);
const STATUS = { o: "ok", d: "diverged", f: "failed", s: "skipped" };
const starts = [0];
for (const size of known.sizes) starts.push(starts.at(-1) + size);
const place = document.getElementById("explorer-rows");
const selects = [...document.querySelectorAll("[data-axis]")];
const order = document.getElementById("explorer-order");
let limit = SHOWN;

const number = value => value === null ? "–" : Number(value).toPrecision(4).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "").replace("-", "−");
const made = (tag, text = "", looks = "") => { const node = document.createElement(tag); node.textContent = text; if (looks) node.className = looks; return node; };
const drawn = (tag, attributes) => { const node = document.createElementNS("http://www.w3.org/2000/svg", tag); for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value); return node; };
const levels = row => known.axes.map(([name, all], i) => [name, all[row[i]]]);
const runsOf = index => Array.from({ length: known.sizes[index] ?? 0 }, (_, k) => {
  const at = starts[index] + k;
  return { at, seed: known.seeds[known.seed === null ? at % known.seeds.length : known.seed[at]], status: STATUS[known.status[at] ?? "o"], loss: known.loss[at], id: known.ids.slice(at * known.width, (at + 1) * known.width) };
});

function chosen() {
  const wanted = selects.map(select => select.value);
  const found = known.configurations.map((row, index) => ({ row, index })).filter(({ row }) => wanted.every((level, i) => level === "" || row[i] === Number(level)));
  const column = { loss: MEAN, seconds: SECONDS, diverged: DIVERGED }[order.value];
  if (order.value !== "best") found.sort((a, b) => {
    const x = a.row[column], y = b.row[column];
    if (x === null || y === null) return (x === null) - (y === null);
    return order.value === "diverged" || (order.value === "loss" && known.descending) ? y - x : x - y;
  });
  return found;
}

function show() {
  const found = chosen();
  document.getElementById("explorer-count").textContent = `${found.length.toLocaleString("en")} of ${known.configurations.length.toLocaleString("en")} configurations`;
  place.replaceChildren(...found.slice(0, limit).flatMap(({ row, index }) => entry(row, index)));
  document.getElementById("explorer-none").hidden = found.length > 0;
  const more = document.getElementById("explorer-more");
  more.hidden = found.length <= limit;
  more.textContent = `Show ${Math.min(SHOWN, found.length - limit)} more`;
}

const entries = new Map();

function entry(row, index) {
  // Made once, so that what was opened stays open.
  if (!entries.has(index)) entries.set(index, newEntry(row, index));
  return entries.get(index);
}

function newEntry(row, index) {
  const line = made("tr"), first = made("td", "", "name"), button = made("button", levels(row).map(([, level]) => level).join(", ") || "the only one");
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  first.append(button);
  line.append(first, made("td", number(row[MEAN]), "number"), made("td", row[LOW] === null ? "–" : `${number(row[LOW])} to ${number(row[HIGH])}`, "number interval"), made("td", number(row[METRIC]), "number"), made("td", number(row[SECONDS]), "number"), made("td", ended(row)));
  const below = made("tr"), cell = made("td");
  cell.colSpan = 6;
  below.hidden = true;
  below.append(cell);
  button.addEventListener("click", () => {
    below.hidden = !below.hidden;
    button.setAttribute("aria-expanded", String(!below.hidden));
    if (!cell.hasChildNodes()) cell.append(...detail(row, index));
  });
  return [line, below];
}

function ended(row) {
  const counts = [["ok", row[OK]], ["diverged", row[DIVERGED]], ["failed", row[FAILED]], ["skipped", row[SKIPPED]]];
  return counts.filter(([, n]) => n).map(([word, n]) => `${n} ${word}`).join(", ") || "–";
}

function detail(row, index) {
  const runs = runsOf(index), parts = [];
  parts.push(made("p", levels(row).map(([name, level]) => `${name} ${level}`).join(" · ")));
  const curves = known.curves === null ? [] : known.curves.length === known.ids.length / known.width ? runs.map(run => known.curves[run.at]) : [known.curves[index]];
  if (curves.some(curve => curve?.some(value => value !== null))) parts.push(chart(curves, curves.length === runs.length ? runs.map(run => run.seed) : []));
  const table = made("table"), head = made("tr"), box = made("div", "", "scroll");
  head.append(...["seed", "ended", known.outcome, "to run it again, in the folder of this page"].map(text => { const cell = made("th", text); cell.scope = "col"; return cell; }));
  table.append(made("thead"), made("tbody"));
  table.tHead.append(head);
  for (const run of runs) {
    const line = made("tr"), command = `ablations rerun . ${run.id}`, last = made("td"), code = made("code", command), button = made("button", "Copy");
    button.type = "button";
    button.setAttribute("aria-label", `Copy the command of seed ${run.seed}`);
    button.addEventListener("click", () => copyText(command, button));
    last.append(code, " ", ...(run.status === "skipped" ? [] : [button]));
    line.append(made("td", String(run.seed), "number"), made("td", run.status), made("td", number(run.loss), "number"), last);
    table.tBodies[0].append(line);
  }
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Runs of this configuration");
  box.append(table);
  parts.push(box);
  return parts;
}

function chart(curves, names) {
  const W = 560, H = 190, left = 62, bottom = 26, top = 10;
  const values = curves.flat().filter(value => value !== null), low = Math.min(...values), high = Math.max(...values);
  const first = known.epochs[0], last = known.epochs.at(-1);
  const x = epoch => left + (epoch - first) / Math.max(last - first, 1) * (W - left - 12);
  const log = low > 0 && high / low > 8, f = log ? Math.log : value => value, span = f(high) - f(low) || 1;
  const y = value => top + (f(high) - f(value)) / span * (H - top - bottom);
  const picture = drawn("svg", { viewBox: `0 0 ${W} ${H}`, class: "chart", role: "img", "aria-label": `Validation loss by epoch, ${curves.length > 1 ? `${curves.length} seeds` : "one curve"}: from ${number(high)} at most to ${number(low)} at least` });
  for (const value of [low, high]) {
    picture.append(drawn("line", { x1: left, x2: W - 12, y1: y(value), y2: y(value), class: "grid" }));
    const label = drawn("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" });
    label.textContent = number(value);
    picture.append(label);
  }
  for (const [epoch, anchor] of [[first, "start"], [last, "end"]]) {
    const label = drawn("text", { x: x(epoch), y: H - 8, "text-anchor": anchor });
    label.textContent = `epoch ${epoch}`;
    picture.append(label);
  }
  for (const [i, curve] of curves.entries()) {
    const points = (curve ?? []).map((value, i) => value === null ? null : `${x(known.epochs[i]).toFixed(1)},${y(value).toFixed(1)}`).filter(Boolean);
    const line = drawn("polyline", { points: points.join(" "), class: "curve" }), name = drawn("title", {});
    if (names[i] !== undefined) name.textContent = `seed ${names[i]}`;
    line.append(name);
    picture.append(line);
  }
  return picture;
}

document.getElementById("explorer-download").addEventListener("click", () => {
  const rows = [[...known.axes.map(([name]) => name), "seed", "run_id", "status", known.column]];
  known.configurations.forEach((row, index) => runsOf(index).forEach(run => rows.push([...levels(row).map(([, level]) => level), String(run.seed), run.id, run.status, run.loss === null ? "" : String(run.loss)])));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([FORMATS.CSV(rows)], { type: "text/csv" }));
  link.download = "runs.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});
for (const control of [...selects, order]) control.addEventListener("change", () => { limit = SHOWN; show(); });
document.getElementById("explorer-more").addEventListener("click", () => { limit += SHOWN; show(); });
document.getElementById("explorer-clear").addEventListener("click", () => { selects.forEach(select => { select.value = ""; }); limit = SHOWN; show(); });
show();
