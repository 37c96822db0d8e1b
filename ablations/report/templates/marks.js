"use strict";
// What the page does beyond being read: exact values of marks, one level highlighted in all
// figures, units, tables to sort, search and copy, pictures to save, an address that remembers.
// Without this script everything is on the page.  It works on:
//
//   .mark                    data-text is shown on hover and focus, data-axis and data-level say of which level
//   .mark[data-series]       a curve: [[x, y, "text"], ...], x and y in the units of its SVG; the level precedes the text
//   .legend-entry            data-axis, data-level: hides its level in the figures that have such an entry
//   [data-axis][data-level]  a row, or any other element: highlights its level; a row of a table that has axis and
//                            level in the data-parts of its first cell is one, too
//   .in-percent, .in-ratio   by data-unit of <html>, .by-outcome and .by-second by its data-measure; a mark has
//                            data-text-percent and data-text-ratio where its text depends on the unit
//   .hint                    the line that says that marks respond
//   .forest, #explorer-pair  get the buttons that switch units and measures, above what these change
//   .copy[data-table]        gets the buttons that copy this table
//
// Other scripts of the page use pageState, FORMATS, copyText and readMarks.

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The state of the page, in the address: #anchor&key=value&key=item,item
const pageState = (() => {
  const listeners = [];
  let values = new Map(), anchor = "";
  const decode = text => { try { return decodeURIComponent(text); } catch { return text; } };
  const encode = text => encodeURIComponent(text).replace(/%(2F|3A|3D|5B|5D)/g, decode);
  const fragment = id => [id && encode(id), ...[...values].map(pair => pair.join("="))].filter(Boolean).join("&");

  function read() {
    const text = location.hash.slice(1), next = new Map();
    anchor = document.getElementById(decode(text)) ? decode(text) : "";
    if (!anchor) for (const piece of text.split("&")) {
      const at = piece.indexOf("=");
      if (at > 0) next.set(piece.slice(0, at), piece.slice(at + 1));
      else if (at < 0 && piece) anchor ||= decode(piece);
    }
    // A link within the page leads somewhere else and leaves the rest as it is.
    if (next.size || !anchor) values = next;
  }

  function write() {
    const hash = fragment(anchor);
    // Some browsers refuse: in a frame without an address, or after too many changes at once.
    try { history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search); } catch { /* the page works without */ }
  }

  read();
  addEventListener("hashchange", () => { read(); write(); listeners.forEach(listener => listener()); });
  return {
    get: key => decode(values.get(key) ?? ""),
    list: key => (values.get(key) || undefined)?.split(",").map(decode) ?? [],
    set(key, value) {
      const text = Array.isArray(value) ? value.map(encode).join(",") : encode(value ?? "");
      if (text) values.set(key, text); else values.delete(key);
      write();
    },
    get anchor() { return anchor; },
    // The address of one place of the page in its present state.
    address: id => `${location.href.split("#")[0]}#${fragment(id)}`,
    // `listener` runs now, and whenever somebody changes the address.
    restore(listener) { listeners.push(listener); listener(); },
  };
})();

// Tables as other programs read them.
// What a spreadsheet would take for a formula gets an apostrophe; a number stays one.
const quoted = text => Number.isNaN(Number(text)) ? `"${text.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"` : text;

const FORMATS = {
  CSV: rows => rows.map(row => row.map(quoted).join(",")).join("\r\n") + "\r\n",
  Markdown: rows => {
    const line = row => `| ${row.map(text => text.replaceAll("|", "\\|")).join(" | ")} |\n`;
    return line(rows[0]) + line(rows[0].map(() => "---")) + rows.slice(1).map(line).join("");
  },
  LaTeX: rows => {
    const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "→": "$\\rightarrow$", "−": "$-$", "×": "$\\times$", "±": "$\\pm$", "\u202f": "\\," };
    const plain = text => text.replace(/[\\~^→−×±\u202f]|[&%$_{}]|\u0023/g, c => special[c] ?? `\\${c}`);
    const line = row => `${row.map(plain).join(" & ")} \\\\\n`;
    return `\\begin{tabular}{${"l".repeat(rows[0].length)}}\n\\toprule\n${line(rows[0])}\\midrule\n${rows.slice(1).map(line).join("")}\\bottomrule\n\\end{tabular}\n`;
  },
};

// A word on the button for a moment.
function answer(button, word) {
  button.dataset.label ??= button.textContent;
  button.textContent = word;
  setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
}

async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page opened from a file has no clipboard in some browsers: the old way still works there.
    const area = make("textarea", { style: "position: fixed" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  answer(button, "copied");
}

function saveFile(name, content, type) {
  const link = make("a", { download: name });
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

{
  function textOf(cell) {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("svg, button, details").forEach(node => node.replaceWith(node.localName === "button" ? node.textContent : ""));
    // A caption below a name stays behind; an interval below a number comes along.
    copy.querySelectorAll("small").forEach(note => note.replaceWith(cell.classList.contains("number") ? ` (${note.textContent})` : ""));
    return copy.textContent.trim().replace(/\s*\n\s*/g, " ");
  }

  // For programs: numbers as they are, and a column for each that a cell holds.
  function plain(table) {
    const parts = cell => Object.entries(JSON.parse(cell.dataset.parts ?? "{}"));
    const [head, ...body] = table.rows;
    const columns = [...head.cells].map((cell, i) => [textOf(cell), [...new Set(body.flatMap(row => parts(row.cells[i]).map(([name]) => name)))]]);
    const number = cell => cell.dataset.value ?? (cell.classList.contains("number") ? "" : textOf(cell));
    const values = (cell, names) => names.length ? names.map(name => Object.fromEntries(parts(cell))[name] ?? "") : [number(cell)];
    return [columns.flatMap(([title, names]) => names.length ? names.map(name => `${title} ${name}`.trim()) : [title]), ...body.map(row => [...row.cells].flatMap((cell, i) => values(cell, columns[i][1])))];
  }

  for (const bar of document.querySelectorAll(".copy")) {
    const table = document.getElementById(bar.dataset.table);
    for (const [name, format] of Object.entries(FORMATS)) {
      const button = make("button", { type: "button" }, `Copy as ${name}`);
      button.addEventListener("click", () => copyText(format(name === "CSV" ? plain(table) : [...table.rows].map(row => [...row.cells].map(textOf))), button));
      bar.append(button);
    }
  }
}

// Tables to sort and to search.
{
  const LONG = 15;
  const tables = [...document.querySelectorAll("table.sortable")].filter(table => [...table.tBodies].some(body => body.rows.length > 1));
  const original = new Map(tables.map(table => [table, [...table.tBodies].map(body => [...body.rows])]));

  function key(row, column) {
    const cell = row.cells[column], value = cell?.dataset.value;
    if (value !== undefined) return Number(value);
    return [...cell?.childNodes ?? []].map(node => node.textContent.trim()).find(Boolean) ?? "";
  }

  function sort(table, column, direction) {
    [...table.tHead.rows[0].cells].forEach((head, i) => {
      if (i === column) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    [...table.tBodies].forEach((body, i) => {
      const rows = [...original.get(table)[i]];
      if (column >= 0) rows.sort((a, b) => {
        const x = key(a, column), y = key(b, column);
        // What has no number comes last, whichever way the others go.
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        return direction * (x < y ? -1 : x > y ? 1 : 0);
      });
      body.append(...rows);
    });
  }

  function saveOrder() {
    pageState.set("sort", tables.flatMap(table => {
      const heads = [...table.tHead.rows[0].cells], column = heads.findIndex(head => head.hasAttribute("aria-sort"));
      return column < 0 || !table.id ? [] : [`${table.id}:${column + 1}:${heads[column].getAttribute("aria-sort") === "ascending" ? "up" : "down"}`];
    }));
  }

  for (const table of tables) [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      sort(table, column, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
      saveOrder();
    });
  });

  for (const row of tables.flatMap(table => original.get(table).flat())) {
    const { axis, level } = JSON.parse(row.cells[0]?.dataset.parts ?? "{}");
    if (axis !== undefined && level !== undefined) Object.assign(row.dataset, { axis, level });
  }

  pageState.restore(() => {
    const orders = new Map(pageState.list("sort").map(text => { const [, id, column, way] = /^(.*):(\d+):(up|down)$/.exec(text) ?? []; return [id, [Number(column) - 1, way === "up" ? 1 : -1]]; }));
    for (const table of tables) {
      const [column, direction] = orders.get(table.id) ?? [-1, 1];
      if (column < table.tHead.rows[0].cells.length) sort(table, column, direction);
    }
  });

  for (const table of tables) {
    const rows = original.get(table).flat();
    if (rows.length < LONG) continue;
    const field = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
    const count = make("span", { role: "status" });
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
      count.textContent = field.value.trim() ? `${rows.filter(row => !row.hidden).length} of ${rows.length} rows` : "";
    });
    (table.closest(".scroll") ?? table).before(make("p", { class: "search" }, make("label", {}, `Search these ${rows.length} rows`, field), count));
  }
}

// Folded parts: remembered when opened, opened for a link into them and for print.
{
  const folds = [...document.querySelectorAll("details")];
  const nameOf = fold => {
    const row = fold.closest("[id]");
    return fold.id || fold.querySelector("[id]")?.id.replace(/^caption-/, "") || (row ? `${row.id}.${[...row.querySelectorAll("details")].indexOf(fold)}` : "");
  };
  const openAtFirst = new Set(folds.filter(fold => fold.open));
  const openForAnchor = new Set();
  let closedBeforePrint = null;

  // The address has what was opened by hand; what the link to a place opens follows from that.
  function saveFolds() {
    if (!closedBeforePrint) pageState.set("open", folds.filter(fold => fold.open && !openAtFirst.has(fold) && !openForAnchor.has(fold)).map(nameOf).filter(Boolean));
  }

  for (const fold of folds) fold.addEventListener("toggle", saveFolds);
  addEventListener("beforeprint", () => {
    closedBeforePrint ??= [...document.querySelectorAll("details:not([open])")];
    for (const fold of closedBeforePrint) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of closedBeforePrint ?? []) fold.open = false;
    closedBeforePrint = null;
  });

  function reveal(id, behavior = "auto") {
    const target = document.getElementById(id);
    if (!target) return;
    openForAnchor.clear();
    // The row of a level opens, too; other rows of its axis are folded by the part before them.
    const outside = [target.closest("tr")?.querySelector("details"), target.closest(".folded")?.previousElementSibling.querySelector(".rest details")];
    for (const fold of [...outside, ...folds.filter(fold => fold.contains(target))]) if (fold) {
      openForAnchor.add(fold);
      fold.open = true;
    }
    saveFolds();
    if (target.closest("tr")) target.closest("tr").hidden = false;
    const isPlace = /^(h\d|section)$/.test(target.localName) || target.getBoundingClientRect().height > innerHeight / 2;
    target.scrollIntoView({ block: isPlace ? "start" : "center", behavior });
    target.classList.add("flash");
    setTimeout(() => target.classList.remove("flash"), 2000);
  }

  pageState.restore(() => {
    const names = pageState.list("open");
    for (const fold of folds) if (names.includes(nameOf(fold))) fold.open = true;
  });
  // When all scripts have filled the page, places stay where they are.
  addEventListener("load", () => {
    reveal(pageState.anchor, "instant");
    addEventListener("hashchange", () => reveal(pageState.anchor));
  });
  document.addEventListener("click", event => {
    const link = event.target.closest?.('a[href^="#"]');
    // The same link again changes no address, and leads there all the same.
    if (link && link.hash === location.hash) reveal(decodeURIComponent(link.hash.slice(1)));
  });
}

// The link at a heading copies its address; the list of contents marks the section in view.
{
  for (const link of document.querySelectorAll("a.anchor")) {
    link.title = "Copy the link";
    link.addEventListener("click", () => copyText(pageState.address(decodeURIComponent(link.hash.slice(1))), link));
  }

  const sections = new Map();
  for (const link of document.querySelectorAll('nav a[href^="#"]')) {
    const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (target) sections.set(/^h\d$/.test(target.localName) ? target.closest("section, header") ?? target : target, link);
  }
  let frame = 0, chosen = null;
  function markCurrent() {
    frame = 0;
    // A line below the top of the window, which comes down to its foot at the end of the page.
    const rest = document.documentElement.scrollHeight - innerHeight - scrollY;
    const line = innerHeight * Math.max(0.15, 1 - 2.5 * rest / innerHeight);
    const passed = [...sections].filter(([section, link]) => link.getClientRects().length && !section.closest("details:not([open])") && section.getBoundingClientRect().top <= line);
    const current = chosen ?? passed.at(-1)?.[1];
    for (const link of sections.values()) if (link !== current) link.removeAttribute("aria-current");
    if (!current || current.hasAttribute("aria-current")) return;
    current.setAttribute("aria-current", "true");
    // Where the list is a bar or a column that scrolls, the section in view is in it.
    const bar = current.closest("nav"), place = current.getBoundingClientRect(), box = bar.getBoundingClientRect();
    if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft += place.left + place.width / 2 - box.left - box.width / 2;
    if (place.top < box.top || place.bottom > box.bottom) bar.scrollTop += place.top - box.top - box.height / 2;
  }
  for (const name of ["scroll", "resize", "load", "toggle"]) addEventListener(name, () => { frame ||= requestAnimationFrame(markCurrent); }, { passive: true, capture: true });
  // The end of the page may come before a section is at the top: what was asked for counts.
  for (const link of sections.values()) link.addEventListener("click", () => { chosen = link; markCurrent(); });
  for (const name of ["wheel", "touchmove", "keydown"]) addEventListener(name, () => { chosen = null; }, { passive: true });
}

// Units and measures: two buttons each, above the tables that have both.
{
  const root = document.documentElement, hint = document.querySelector(".hint");
  const CHOICES = {
    measure: ["outcome", "second"].map((value, i) => [value, root.dataset[`${value}Name`] ?? ["loss", "metric"][i]]),
    unit: [["percent", "%"], ["ratio", "ratio"]],
  };
  // A table, what it is called, and what shows that there is anything in it to switch.
  const TABLES = [
    [document.querySelector(".forest table"), "This table:", { measure: "[data-measure=second]", unit: "[data-text-ratio]" }],
    [document.getElementById("explorer-pair-body"), "B against A:", { unit: null }],
  ];
  if (hint && document.querySelector(".mark")) hint.hidden = false;
  if (hint && matchMedia("(hover: none)").matches) hint.textContent = "Touch a mark for its exact values; it highlights the same technique in all figures.";
  for (const [table, title, switched] of TABLES) {
    const keys = Object.keys(switched).filter(key => table && (switched[key] === null || table.querySelector(switched[key])));
    const groups = keys.map(key => make("div", { role: "group", "aria-label": `${key === "unit" ? "Unit of changes" : "Changes of"}, ${title.slice(0, -1)}` }, ...CHOICES[key].map(([value, label]) => make("button", { type: "button", name: key, value }, label))));
    if (groups.length) table.before(make("div", { class: "toggles" }, make("span", {}, title), ...groups));
  }
  for (const [key, choices] of Object.entries(CHOICES)) {
    const usual = root.dataset[key] ?? choices[0][0], buttons = [...document.querySelectorAll(`.toggles [name="${key}"]`)];
    for (const button of buttons) button.addEventListener("click", () => { pageState.set(key, button.value === usual ? "" : button.value); show(); });
    function show() {
      const value = choices.find(([value]) => value === pageState.get(key))?.[0] ?? usual;
      root.dataset[key] = value;
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === value));
      for (const mark of document.querySelectorAll(`.mark[data-text-${value}]`)) {
        mark.dataset.text = mark.getAttribute(`data-text-${value}`);
        if (mark.hasAttribute("aria-label")) mark.setAttribute("aria-label", mark.dataset.text);
      }
    }
    if (buttons.length) pageState.restore(show);
  }
}

// Marks: values on hover, focus and touch; one level highlighted in all figures; the legend hides.
const readMarks = (() => {
  const NEAR = 14, MOST = 6;
  // A level is written axis:level; a cell of a heat map has two of them, and a configuration its number and a level.
  const keysOf = ({ dataset: { axis, level, otherAxis, otherLevel } }) => [[axis, level], [otherAxis, otherLevel]].filter(pair => pair[0] && pair[1] !== undefined).map(pair => pair.join(":"));
  const keyOf = node => keysOf(node)[0] ?? "";
  const levelNode = node => node?.closest?.("[data-axis][data-level]");
  const nodesOf = keys => keys.length ? [...document.querySelectorAll("[data-axis][data-level]")].filter(node => keysOf(node).some(key => keys.includes(key))) : [];
  const isVisible = node => node.getClientRects().length > 0 && getComputedStyle(node).visibility === "visible";
  const series = new WeakMap();
  const tip = make("div", { id: "tip", role: "tooltip", hidden: "" });
  const chip = make("p", { id: "pinned", role: "status" });
  // `pointer`: what was used last, a mouse, a pen, a finger, or with "" the keyboard.
  let shownMark = null, point = -1, shownBefore = [], pointer = "", isPressed = false, at = [], active = "";
  document.body.append(tip, chip);

  function pointsOf(mark) {
    if (!series.has(mark)) {
      let points = [];
      try { points = JSON.parse(mark.dataset.series ?? "[]"); } catch { /* a mark without its points */ }
      series.set(mark, points);
    }
    return series.get(mark);
  }

  // Where a point of a curve is on the screen.
  function onScreen(mark, [x, y]) {
    return new DOMPoint(x, y).matrixTransform((mark.ownerSVGElement ?? mark).getScreenCTM());
  }

  // Above all others: a dot on the point of a curve, a frame around a cell.
  function showSign(mark, at) {
    document.querySelectorAll(".mark-sign").forEach(sign => sign.remove());
    if (!at && mark?.localName !== "path") return;
    const svg = mark.ownerSVGElement, sign = document.createElementNS("http://www.w3.org/2000/svg", at ? "circle" : "rect");
    const box = mark.getBoundingClientRect(), toSVG = svg.getScreenCTM().inverse();
    const [start, end] = [[box.left, box.top], [box.right, box.bottom]].map(([x, y]) => new DOMPoint(x, y).matrixTransform(toSVG));
    const shape = at ? { cx: at[0], cy: at[1], r: 3.5 } : { x: start.x, y: start.y, width: end.x - start.x, height: end.y - start.y };
    for (const [name, value] of Object.entries({ class: "mark-sign", ...shape })) sign.setAttribute(name, value);
    svg.append(sign);
  }

  // The texts of all marks at a place of the screen, one below another.
  function textsAt(x, y) {
    const marks = new Set(document.elementsFromPoint(x, y).map(node => node.closest(".mark:not([data-series])")).filter(Boolean));
    const texts = [...marks].map(mark => mark.dataset.text).filter(Boolean);
    if (texts.length < 2) return texts[0];
    return [...texts.slice(0, MOST), ...(texts.length > MOST ? [`${texts.length - MOST} more here`] : [])].map(text => `• ${text}`).join("\n");
  }

  // `index` is the point of a curve; `x` and `y` where the pointer is.
  function show(mark, index = -1, x = null, y = null) {
    const at = pointsOf(mark)[index];
    const text = at ? [mark.dataset.axis, `${mark.dataset.level},`, at[2]].filter(Boolean).join(" ") : (x !== null && textsAt(x, y)) || mark.dataset.text;
    if (!text) return hide();
    if (shownMark !== mark || point !== index || tip.textContent !== text) {
      tip.textContent = text;
      // The label of a mark is read when it gets the focus; a point of a curve has none.
      tip.setAttribute("aria-live", at ? "polite" : "off");
      showSign(mark, at);
    }
    [shownMark, point] = [mark, index];
    tip.hidden = false;
    const box = mark.getBoundingClientRect(), place = at && onScreen(mark, at), gap = 10;
    const middle = place?.x ?? (x !== null && box.width > 60 ? Math.min(Math.max(x, box.left), box.right) : box.left + box.width / 2);
    // A row of a table stays readable as a whole.
    const { top, bottom } = place ? { top: place.y - 4, bottom: place.y + 4 } : (mark.closest("tr") ?? mark).getBoundingClientRect();
    const width = document.documentElement.clientWidth, height = innerHeight;
    const left = Math.min(Math.max(middle - tip.offsetWidth / 2, 6), width - tip.offsetWidth - 6);
    const above = top - tip.offsetHeight - gap;
    tip.style.left = `${left}px`;
    tip.style.top = `${Math.max(6, Math.min(above >= 6 ? above : bottom + gap, height - tip.offsetHeight - 6))}px`;
  }

  function hide() {
    tip.hidden = true;
    showSign();
    [shownMark, point] = [null, -1];
  }

  // The mark at the pointer, or the nearest one close to it, and which of its points.
  function find(target, x, y) {
    const direct = target.closest?.(".mark");
    if (direct && !direct.dataset.series) return [direct, -1];
    let picture = target.closest?.("svg");
    while (picture?.ownerSVGElement) picture = picture.ownerSVGElement;
    // On a curve, the nearest of its points, however far; beside one, only a point close by.
    let best = null, least = direct ? Infinity : NEAR;
    for (const mark of direct ? [direct] : picture?.querySelectorAll(".mark") ?? []) {
      const box = mark.getBoundingClientRect(), points = pointsOf(mark);
      const distance = Math.hypot(Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom));
      if (distance >= least || !isVisible(mark)) continue;
      if (!points.length) [best, least] = [[mark, -1], distance];
      points.forEach((at, index) => {
        const place = onScreen(mark, at), distance = Math.hypot(place.x - x, place.y - y);
        if (distance < least) [best, least] = [[mark, index], distance];
      });
    }
    return best;
  }

  // Highlighting.
  const pinned = () => pageState.get("pin");

  function highlight(key = active) {
    active = key;
    const lit = nodesOf([active, pinned()].filter(Boolean));
    document.querySelectorAll(".lit, .dim").forEach(node => node.classList.remove("lit", "dim"));
    for (const node of lit) node.classList.add("lit");
    // The other levels of the same axis step back where this one is in a figure.
    for (const picture of new Set(lit.map(node => node.closest("figure svg")).filter(Boolean))) {
      const axes = new Set(lit.filter(node => picture.contains(node)).map(node => node.dataset.axis));
      for (const node of picture.querySelectorAll("[data-axis]:not(.lit)")) if (axes.has(node.dataset.axis)) node.classList.add("dim");
    }
  }

  function showPinned() {
    const key = pinned(), nodes = nodesOf([key]), node = nodes.find(each => each.dataset.text) ?? nodes[0];
    document.querySelectorAll(".mark[role='button']").forEach(mark => mark.setAttribute("aria-pressed", String(keyOf(mark) === key)));
    document.querySelectorAll(".pinned").forEach(each => each.classList.remove("pinned"));
    nodes.forEach(each => each.classList.add("pinned"));
    chip.replaceChildren();
    if (node) {
      const release = make("button", { type: "button", "aria-label": "Stop highlighting" }, "×");
      release.addEventListener("click", () => pin(""));
      const { axis, level, otherAxis, otherLevel, text } = node.dataset, [shownAxis, shownLevel] = keyOf(node) === key ? [axis, axis === "configuration" ? text?.split(": ")[0] ?? level : level] : [otherAxis, otherLevel];
      chip.append(make("span", {}, "Highlighted: ", make("b", {}, shownLevel), ` (${shownAxis})`), " ", release);
    }
    highlight();
  }

  function pin(key) {
    pageState.set("pin", key === pinned() ? "" : key);
    showPinned();
  }

  // Hiding by the legend, in the figures whose legend has the level.
  function showHidden() {
    const hidden = pageState.list("hide");
    for (const picture of document.querySelectorAll("svg:has(.legend-entry)")) {
      const keys = new Set([...picture.querySelectorAll(".legend-entry")].map(keyOf));
      for (const node of picture.querySelectorAll("[data-axis][data-level]")) {
        const isHidden = keysOf(node).some(key => keys.has(key) && hidden.includes(key));
        node.classList.toggle("hidden-level", isHidden);
        if (node.matches(".legend-entry[role]")) node.setAttribute("aria-pressed", String(!isHidden));
      }
    }
  }

  function toggleLevel(key) {
    const hidden = pageState.list("hide");
    pageState.set("hide", hidden.includes(key) ? hidden.filter(each => each !== key) : [...hidden, key]);
    showHidden();
  }

  // One tab stop a figure, and arrow keys within it.
  const stops = group => [...group.querySelectorAll(".mark, .legend-entry[role]")].filter(isVisible);
  const groupOf = node => node.closest(".picture") ?? node.closest("table") ?? node.closest("svg");

  function prepare(group) {
    const picture = group.matches(".picture") ? group : group.closest(".picture");
    for (const svg of group.matches("svg") ? [group] : group.querySelectorAll("svg:has(.mark, .legend-entry)")) {
      svg.removeAttribute("aria-hidden");
      svg.setAttribute("role", "group");
      svg.querySelectorAll("text").forEach(text => text.setAttribute("aria-hidden", "true"));
    }
    if (picture?.getAttribute("role") === "img") {
      picture.setAttribute("role", "group");
      picture.removeAttribute("tabindex");
    }
    const named = new Set();
    for (const node of group.querySelectorAll(".mark, .legend-entry")) {
      const isEntry = node.matches(".legend-entry"), key = keyOf(node);
      // A line and a word of one entry are one button.
      if (isEntry && named.has(key)) continue;
      if (isEntry) named.add(key);
      node.querySelector(":scope > title")?.remove();
      node.setAttribute("tabindex", "-1");
      node.setAttribute("role", isEntry || key ? "button" : "img");
      node.setAttribute("aria-label", isEntry ? `Show ${node.dataset.level}` : node.dataset.text);
    }
    group.querySelector("[tabindex='-1']:is(.mark, .legend-entry)")?.setAttribute("tabindex", "0");
  }

  function focusOn(group, node) {
    if (!node) return;
    group.querySelectorAll(":is(.mark, .legend-entry)[tabindex='0']").forEach(each => each.setAttribute("tabindex", "-1"));
    node.setAttribute("tabindex", "0");
    node.focus();
  }

  // The nearest stop above or below, or the next in order.
  function beyond(all, node, way) {
    const box = node.getBoundingClientRect(), x = box.left + box.width / 2, y = box.top + box.height / 2;
    const ranked = all.map(each => {
      const other = each.getBoundingClientRect(), dy = way * (other.top + other.height / 2 - y);
      return [dy, dy + 3 * Math.abs(other.left + other.width / 2 - x), each];
    }).filter(([dy]) => dy > 2).sort((a, b) => a[1] - b[1]);
    return ranked[0]?.[2] ?? all[all.indexOf(node) + way];
  }

  function move(node, name) {
    const group = groupOf(node), all = stops(group), at = all.indexOf(node), points = pointsOf(node);
    if (points.length && /Left|Right|Home|End/.test(name)) {
      const last = points.length - 1, now = shownMark === node && point >= 0 ? point : last;
      show(node, { ArrowLeft: Math.max(now - 1, 0), ArrowRight: Math.min(now + 1, last), Home: 0, End: last }[name]);
    } else focusOn(group, {
      ArrowLeft: all[at - 1], ArrowRight: all[at + 1], Home: all[0], End: all.at(-1),
      ArrowUp: points.length ? all[at - 1] : beyond(all, node, -1),
      ArrowDown: points.length ? all[at + 1] : beyond(all, node, 1),
    }[name]);
  }

  function press(node) {
    const key = keyOf(node);
    if (key) node.matches(".legend-entry") ? toggleLevel(key) : pin(key);
  }

  document.addEventListener("keydown", event => {
    pointer = "";
    isPressed = false;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !event.target.matches("input, select")) tip.hidden ? pinned() && pin("") : hide();
    const node = event.target.closest?.(".mark[tabindex], .legend-entry[tabindex]");
    if (!node) return;
    if (/^(Arrow|Home$|End$)/.test(event.key)) move(node, event.key);
    else if (event.key === "Enter" || event.key === " ") press(node);
    else return;
    event.preventDefault();
  });

  document.addEventListener("focusin", event => {
    const node = event.target, mark = node.closest?.(".mark");
    // A click says itself what it shows.
    if (isPressed) return;
    if (mark && mark !== shownMark) show(mark, pointsOf(mark).length - 1);
    else if (!mark) hide();
    highlight(keyOf(levelNode(node) ?? document.body));
  });
  document.addEventListener("focusout", () => { hide(); highlight(""); });

  let frame = 0;
  document.addEventListener("pointermove", event => {
    // A page that scrolls below a pointer at rest moves no pointer.
    if (event.pointerType === "touch" || frame || (event.clientX === at[0] && event.clientY === at[1])) return;
    [at, pointer] = [[event.clientX, event.clientY], event.pointerType];
    frame = requestAnimationFrame(() => {
      frame = 0;
      const hit = find(event.target, event.clientX, event.clientY);
      if (hit) show(hit[0], hit[1], event.clientX, event.clientY);
      else if (shownMark && shownMark !== document.activeElement) hide();
      const key = keyOf(hit?.[0] ?? levelNode(event.target) ?? document.body);
      if (key !== active) highlight(key);
    });
  });
  document.addEventListener("pointerdown", event => {
    [pointer, isPressed] = [event.pointerType, true];
    shownBefore = [shownMark, point];
  });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => { isPressed = false; });
  document.addEventListener("click", event => {
    if (event.target.closest?.("a, button, summary, input, select, label, textarea") || getSelection().toString()) return;
    const hit = event.detail ? find(event.target, event.clientX, event.clientY) : null;
    const entry = event.target.closest?.(".legend-entry");
    const isNew = hit && hit.some((part, i) => part !== shownBefore[i]);
    if (entry) return toggleLevel(keyOf(entry));
    if (hit) show(hit[0], hit[1], event.clientX, event.clientY);
    // A first touch shows, a second one pins; a touch elsewhere closes.
    if (pointer === "touch") {
      if (!hit && tip.hidden === false) hide();
      highlight(keyOf(hit?.[0] ?? document.body));
      if (isNew) return;
    }
    const key = keyOf(hit?.[0] ?? event.target.closest?.("tr[data-axis][data-level]") ?? document.body);
    if (key) pin(key);
  });
  for (const name of ["scroll", "resize"]) addEventListener(name, () => {
    if (!shownMark) return;
    const { top, bottom } = shownMark.getBoundingClientRect();
    if (pointer || shownMark !== document.activeElement) {
      hide();
      highlight("");
    } else if (bottom > 0 && top < innerHeight) show(shownMark, point);
    else tip.hidden = true;
  }, { passive: true, capture: true });

  // For pictures that come later.
  function read(root = document) {
    const groups = new Set([...root.querySelectorAll(".mark, .legend-entry")].map(groupOf));
    groups.delete(null);
    groups.forEach(prepare);
  }

  read();
  pageState.restore(() => { showHidden(); showPinned(); });
  return read;
})();

// Pictures to copy and to save, in the colours of the page.
{
  const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "visibility", "display", "font-family", "font-size", "font-weight", "text-anchor"];

  // A copy of an SVG that needs nothing of the page.
  function standalone(svg) {
    const copy = svg.cloneNode(true), nodes = [...copy.querySelectorAll("*")];
    [...svg.querySelectorAll("*")].forEach((node, i) => {
      if (node.closest("defs") || !(node.hasAttribute("class") || node.localName === "text")) return;
      const style = getComputedStyle(node);
      for (const name of LOOKS) nodes[i].style.setProperty(name, style.getPropertyValue(name));
    });
    copy.querySelectorAll(".mark-sign").forEach(sign => sign.remove());
    for (const node of [copy, ...nodes]) for (const { name } of [...node.attributes]) if (/^(tabindex|role|aria-|focusable|class|data-series)/.test(name)) node.removeAttribute(name);
    const { width, height, x, y } = svg.viewBox.baseVal, style = getComputedStyle(svg);
    const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const frame = svg.closest("figure") ?? document.body;
    for (const [name, value] of Object.entries({ x, y, width, height, fill: getComputedStyle(frame).backgroundColor })) paper.setAttribute(name, value);
    copy.prepend(paper);
    for (const [name, value] of Object.entries({ width, height, xmlns: "http://www.w3.org/2000/svg" })) copy.setAttribute(name, value);
    copy.style.fontFamily = style.fontFamily;
    const root = getComputedStyle(document.documentElement);
    return new XMLSerializer().serializeToString(copy).replace(/var\((--[\w-]+)\)/g, (_, name) => root.getPropertyValue(name).trim());
  }

  // A copy of HTML as an SVG: what is shown of it, with the styles of the page.
  function photograph(node) {
    const copy = node.cloneNode(true), style = getComputedStyle(node), paper = getComputedStyle(document.body).backgroundColor;
    const { top } = node.querySelector("table").getBoundingClientRect(), { width: inside } = node.getBoundingClientRect(), width = inside + 24;
    const height = node.querySelector(".save").getBoundingClientRect().top - top + 24;
    const nodes = [...copy.querySelectorAll("*")];
    [...node.querySelectorAll("*")].forEach((each, i) => { if (!each.getClientRects().length && !each.closest("symbol")) nodes[i].remove(); });
    copy.querySelectorAll(".flash").forEach(row => row.classList.remove("flash"));
    copy.querySelectorAll(".save, .toggles").forEach(bar => bar.remove());
    const looks = make("style", {}, [...document.querySelectorAll("style")].map(sheet => sheet.textContent).join("\n"));
    const body = make("div", { style: `font: ${style.font}; color: ${style.color}; padding: 12px; width: ${width}px` }, looks, copy);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" style="background: ${paper}"><foreignObject width="100%" height="100%">${new XMLSerializer().serializeToString(body)}</foreignObject></svg>`;
  }

  async function toPNG(source) {
    const image = new Image(), isDrawing = source.startsWith("<svg");
    image.src = isDrawing ? `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}` : source;
    await image.decode();
    // Sharp in a paper, too, however small it is on this screen.
    const canvas = make("canvas"), scale = isDrawing ? Math.min(4, Math.max(2, 1600 / image.naturalWidth)) : 1;
    [canvas.width, canvas.height] = [image.naturalWidth * scale, image.naturalHeight * scale];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve, reject) => canvas.toBlob(blob => blob ? resolve(blob) : reject(new Error("no picture")), "image/png"));
  }

  for (const figure of document.querySelectorAll("figure:has(svg, img), .forest")) {
    const name = figure.id.replace(/^figure-/, "") || "figure", isDrawing = figure.matches("figure");
    const source = () => {
      if (!isDrawing) return photograph(figure);
      const svg = [...figure.querySelectorAll("svg")].find(each => each.getClientRects().length);
      return svg ? standalone(svg) : figure.querySelector("img").src;
    };
    const bar = make("div", { class: "save" });
    const add = (label, act) => {
      const button = make("button", { type: "button", "aria-label": `${label}: ${name}` }, label);
      button.addEventListener("click", async () => { try { answer(button, await act()); } catch { answer(button, "not possible here"); } });
      bar.append(button);
    };
    if (navigator.clipboard?.write && window.ClipboardItem) add("Copy picture", async () => {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": toPNG(source()) })]);
      return "copied";
    });
    if (isDrawing && figure.querySelector("svg")) add("Save SVG", () => { saveFile(`${name}.svg`, source(), "image/svg+xml"); return "saved"; });
    add("Save PNG", async () => { saveFile(`${name}.png`, await toPNG(source()), "image/png"); return "saved"; });
    figure.append(bar);
  }
}
