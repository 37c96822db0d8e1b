// What an open page looks like, for layouts.py: boxes of visible texts, and contrasts of marks.

function listTexts() {
  const clips = node => {
    let [left, top, right, bottom] = [-1e9, -1e9, 1e9, 1e9];
    for (let each = node; each && each !== document.body; each = each.parentElement) {
      const style = getComputedStyle(each);
      if (style.position === "fixed" || style.clipPath !== "none" && each.localName !== "svg") return null;
      if (style.overflowX !== "visible" && !(each instanceof SVGElement && each.ownerSVGElement)) {
        const box = each.getBoundingClientRect();
        [left, right] = [Math.max(left, box.left), Math.min(right, box.right)];
        [top, bottom] = [Math.max(top, box.top), Math.min(bottom, box.bottom)];
      }
    }
    return [left, top, right, bottom];
  };
  const boxes = [];
  // `whole` numbers a text that leans and is measured letter by letter.
  const add = (owner, text, rect, whole = 0) => {
    const clip = clips(owner);
    if (!clip || !owner.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true})) return;
    const margin = 0.22 * Math.min(rect.width, rect.height);
    const box = [Math.max(rect.left + 0.5, clip[0]), Math.max(rect.top + margin, clip[1]),
                 Math.min(rect.right - 0.5, clip[2]), Math.min(rect.bottom - margin, clip[3])];
    if (box[2] - box[0] > 1 && box[3] - box[1] > 1) boxes.push({text, box, whole});
  };
  let leaning = 0;
  const addLetters = text => {
    const matrix = text.getScreenCTM(), size = parseFloat(getComputedStyle(text).fontSize) * Math.hypot(matrix.a, matrix.b);
    leaning += 1;
    for (let i = 0; i < text.getNumberOfChars(); i++) {
      const {x, y, width, height} = text.getExtentOfChar(i), middle = new DOMPoint(x + width / 2, y + height / 2).matrixTransform(matrix);
      add(text, text.textContent.trim(), new DOMRect(middle.x - 0.4 * size, middle.y - 0.4 * size, 0.8 * size, 0.8 * size), leaning);
    }
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const owner = node.parentElement, words = node.data.trim();
    if (!words || /^(script|style|title|option|noscript)$/i.test(owner.localName)) continue;
    const svg = owner.closest("text");
    if (svg) {
      if (seen.has(svg)) continue;
      seen.add(svg);
      if (svg.getScreenCTM()?.b) addLetters(svg);
      else if (svg.getClientRects().length) add(svg, svg.textContent.trim(), svg.getBoundingClientRect());
      continue;
    }
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) add(owner, words.slice(0, 60), rect);
  }
  return boxes;
}

function listContrasts() {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const read = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map(value => value / 255);
  };
  const over = (top, alpha, below) => below.map((value, i) => alpha * top[i] + (1 - alpha) * value);
  const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = node => {
    for (let each = node; each; each = each.parentElement) {
      const [r, g, b, alpha] = read(getComputedStyle(each).backgroundColor);
      if (alpha > 0.99) return [r, g, b];
    }
    return read("Canvas").slice(0, 3);
  };
  const painted = (node, name) => {
    const style = getComputedStyle(node), paint = style[name];
    if (paint === "none" || name === "stroke" && !parseFloat(style.strokeWidth)) return null;
    const [r, g, b, alpha] = read(paint);
    let opacity = alpha * parseFloat(style[name + "Opacity"]);
    for (let each = node; each; each = each.parentElement) opacity *= parseFloat(getComputedStyle(each).opacity);
    return [[r, g, b], opacity];
  };
  const results = [];
  for (const mark of document.querySelectorAll("svg .mark")) {
    if (!mark.checkVisibility()) continue;
    const below = ground(mark.closest("div, figure, td, th") ?? document.body);
    let best = 1;
    const shapes = mark.matches("path, circle, rect, line, polygon, polyline, use, text") ? [mark] : [];
    for (const shape of [...shapes, ...mark.querySelectorAll("path, circle, rect, line, polygon, polyline, use, text")]) {
      const fill = painted(shape, "fill"), stroke = painted(shape, "stroke");
      const inside = fill ? over(fill[0], fill[1], below) : below;
      best = Math.max(best, contrast(inside, below));
      if (stroke) best = Math.max(best, contrast(over(stroke[0], stroke[1], below), below));
    }
    // A cell of a heat map may be as pale as its value is small: its number must be legible on it.
    const box = mark.getBoundingClientRect();
    for (const text of mark.closest("svg").querySelectorAll("text")) {
      const words = text.getBoundingClientRect(), fill = painted(text, "fill");
      const [x, y] = [words.left + words.width / 2, words.top + words.height / 2];
      const isInside = box.left < x && x < box.right && box.top < y && y < box.bottom;
      const cell = [mark, ...mark.querySelectorAll("path, rect")].find(shape => painted(shape, "fill"));
      if (!fill || !cell || !isInside) continue;
      const ink = painted(cell, "fill"), under = over(ink[0], ink[1], below);
      best = Math.max(best, contrast(over(fill[0], fill[1], under), under));
    }
    results.push({text: mark.dataset.text ?? "", contrast: best});
  }
  return results;
}

function listCutTexts() {
  const texts = [...document.querySelectorAll(".picture svg text")].filter(text => text.checkVisibility());
  return texts.filter(text => {
    const box = text.getBoundingClientRect(), frame = text.closest("figure").getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2;
  }).map(text => text.textContent.trim());
}

function listHeadings() {
  const headings = [...document.querySelectorAll("h1, h2, h3, h4, summary, p.caption")];
  return headings.filter(each => each.checkVisibility()).map(each => each.innerText);
}
