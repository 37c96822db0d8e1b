for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    if (!button.textContent) return;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => { const v = row.cells[column].dataset.value; return v === undefined ? row.cells[column].firstChild?.textContent ?? "" : Number(v); };
      const rows = [...body.rows].sort((a, b) => {
        const x = key(a), y = key(b);
        // What has no number comes last, whichever way the others go.
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        const order = x < y ? -1 : x > y ? 1 : 0;
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}

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

function textOf(cell) {
  const copy = cell.cloneNode(true);
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

async function copied(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page opened from a file has no clipboard in some browsers: the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = label; }, 1500);
}

for (const bar of document.querySelectorAll(".copy")) {
  const table = document.getElementById(bar.dataset.table);
  for (const [name, written] of Object.entries(FORMATS)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Copy as ${name}`;
    button.addEventListener("click", () => copied(written(name === "CSV" ? plain(table) : [...table.rows].map(row => [...row.cells].map(textOf))), button));
    bar.append(button);
  }
}
