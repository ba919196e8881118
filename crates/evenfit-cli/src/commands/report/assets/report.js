"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("summary").textContent);
  const root = document.documentElement;
  root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";

  // ---- numbers as people read them ------------------------------------------------------------
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const human = (bytes) => {
    if (bytes < 1024) return `${bytes} B`;
    let unit = -1;
    do { bytes /= 1024; unit += 1; } while (bytes >= 1023.95 && unit < 3);
    const digits = Number.isInteger(bytes) ? 0 : bytes < 10 ? 2 : 1;
    return `${bytes.toFixed(digits)} ${["KiB", "MiB", "GiB", "TiB"][unit]}`;
  };
  const percent = (share) => `${(Math.floor(share * 1e4) / 100).toFixed(share > 0.999 && share < 1 ? 2 : 1)} %`;
  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  // ---- unpacking ------------------------------------------------------------------------------
  async function unpack(id) {
    const text = atob($(id).textContent);
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  function numbers(bytes) {
    let at = 0;
    return () => {
      let value = 0, scale = 1;
      for (;;) {
        const byte = bytes[at++];
        value += (byte & 127) * scale;
        if (byte < 128) return value;
        scale *= 128;
      }
    };
  }
  const [spanBytes, columnBytes] = await Promise.all([unpack("spans"), unpack("columns")]);
  const UNIT = data.unit_bytes;
  const count = data.places_shown;
  const start = new Float64Array(count), offset = new Float64Array(count), block = new Float64Array(count);
  const end = new Float64Array(count), length = new Float64Array(count), waste = new Float64Array(count);
  const site = new Float64Array(count);
  {
    const next = numbers(spanBytes);
    for (const field of [start, offset, block]) {
      let last = 0;
      for (let i = 0; i < count; i++) {
        const code = next();
        last += code % 2 ? -(code + 1) / 2 : code / 2;
        field[i] = last;
      }
    }
    for (let i = 0; i < count; i++) end[i] = start[i] + next();
    for (const field of [length, waste, site]) for (let i = 0; i < count; i++) field[i] = next();
    for (let i = 0; i < count; i++) { offset[i] *= UNIT; length[i] *= UNIT; }
  }
  const steps = data.steps;
  const column = {};
  {
    const next = numbers(columnBytes);
    for (const name of ["live", "used", "blocks", "reach", "largest", "share"])
      column[name] = Float64Array.from({ length: steps }, next);
  }
  const operations = Math.max(1, data.operations), done = data.operations_done, pool = Math.max(1, data.pool_bytes);
  const stepOf = (op) => Math.max(0, Math.min(steps - 1, Math.floor((op * steps) / Math.max(1, data.steps_over))));

  // ---- what is shown --------------------------------------------------------------------------
  // If the program failed, the map shows little more than the operations that it did.
  const shownEnd = data.fits ? operations : Math.min(operations, Math.max(20, Math.ceil(done * 1.06)));
  // Rows of a table about groups of blocks.
  const NAMED_MAX = 12;
  const view = { t0: 0, t1: shownEnd, a0: 0, a1: pool, op: Math.max(0, data.fits ? data.peak.operation - 1 : done - 1), colour: "size", chosen: -1 };
  const SIZES = ["#4cc9f0", "#4895ef", "#4361ee", "#5e4ae3", "#7b2cbf", "#a62cbf", "#d12c9f", "#f72585", "#f9575f", "#fb8b3d", "#fcbf49", "#ffe17a"];
  const SITES = ["#4361ee", "#f72585", "#3ddc97", "#fb8b3d", "#7b2cbf", "#4cc9f0", "#fcbf49", "#d12c9f", "#2a9d8f", "#9c6644", "#90be6d", "#577590"];
  const AGES = ["#fff3b0", "#fcd06a", "#fb9f4b", "#f3693f", "#d43d51", "#a4286a", "#6d1f7c", "#3f1d7a", "#24246b"];
  // Doublings of size for each colour, from 16 bytes to the largest block.
  const doublings = Math.max(11, Math.floor(Math.log2(Math.max(16, length.reduce((a, b) => Math.max(a, b), 0)))) - 4) / 11;
  const sizeClass = (bytes) => Math.max(0, Math.min(11, Math.floor((Math.log2(Math.max(16, bytes)) - 4) / doublings + 1e-9)));
  const smallestOf = (i) => 2 ** Math.ceil(4 + i * doublings - 1e-9);
  const siteRank = new Map(data.sites.map((s, i) => [s.id, i]));
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const sizeRgb = SIZES.map(rgb), siteRgb = [...SITES.map(rgb), rgb("#8d97aa")], ageRgb = AGES.map(rgb);
  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const fixedColour = (i) => view.colour === "site" ? siteRgb[siteRank.get(site[i]) ?? 12] : sizeRgb[sizeClass(length[i])];
  const ageColour = (age) => ageRgb[Math.max(0, Math.min(8, Math.floor(Math.log2(Math.max(0, age) + 1) / 2.3)))];

  // ---- canvases -------------------------------------------------------------------------------
  const LEFT = 72, RIGHT = 32, STRIP = 18;
  function surface(id) {
    const canvas = $(id), scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.font = "11px Inter, system-ui, sans-serif";
    return { canvas, context, width, height, scale, plot: Math.max(1, width - LEFT - RIGHT) };
  }
  const raster = document.createElement("canvas");
  let mapHash = 0;

  // Address by time. A pixel shows how full it is, in the colour of the block that covers most of it.
  function drawRaster(width, height) {
    raster.width = width;
    raster.height = height;
    const context = raster.getContext("2d");
    const image = context.createImageData(width, height);
    const covered = new Float32Array(width * height), largest = new Float32Array(width * height);
    const owner = new Int32Array(width * height).fill(-1);
    const { t0, t1, a0, a1 } = view;
    const sx = width / (t1 - t0), sy = height / (a1 - a0);
    for (let i = 0; i < count; i++) {
      if (start[i] >= t1 || end[i] <= t0 || offset[i] >= a1 || offset[i] + length[i] <= a0) continue;
      const x0 = Math.max(0, (start[i] - t0) * sx), x1 = Math.min(width, (end[i] - t0) * sx);
      const y0 = Math.max(0, (offset[i] - a0) * sy), y1 = Math.min(height, (offset[i] + length[i] - a0) * sy);
      const xEnd = Math.ceil(x1), yEnd = Math.ceil(y1);
      for (let y = Math.floor(y0); y < yEnd; y++) {
        const tall = Math.min(y1, y + 1) - Math.max(y0, y), row = (height - 1 - y) * width;
        for (let x = Math.floor(x0); x < xEnd; x++) {
          const part = tall * (Math.min(x1, x + 1) - Math.max(x0, x));
          covered[row + x] += part;
          if (part > largest[row + x]) { largest[row + x] = part; owner[row + x] = i; }
        }
      }
    }
    const free = rgb(style("--free")), never = rgb(style("--never")), beyond = rgb(style("--panel"));
    const pixels = image.data;
    const byAge = view.colour === "age";
    let hash = 2166136261;
    for (let x = 0; x < width; x++) {
      const op = t0 + (x + 0.5) / sx;
      const reach = column.reach[stepOf(op)] ?? 0;
      for (let y = 0; y < height; y++) {
        const at = y * width + x, i = owner[at];
        const base = op > done ? beyond : (height - y) / sy + a0 <= reach ? free : never;
        const share = Math.sqrt(Math.min(1, covered[at]));
        const paint = i < 0 ? base : byAge ? ageColour(op - start[i]) : fixedColour(i);
        const faded = op > done ? 0.25 : 1;
        for (let c = 0; c < 3; c++) pixels[4 * at + c] = base[c] + (paint[c] - base[c]) * share * faded;
        pixels[4 * at + 3] = 255;
        if (at % 7 === 0) hash = Math.imul(hash ^ (i + 1), 16777619);
      }
    }
    mapHash = hash >>> 0;
    context.putImageData(image, 0, 0);
  }

  const xOf = (s, op) => LEFT + ((op - view.t0) / (view.t1 - view.t0)) * s.plot;
  const yOf = (s, address) => s.height - 20 - ((address - view.a0) / (view.a1 - view.a0)) * (s.height - 28);

  function niceTicks(from, to, most) {
    const span = to - from, raw = span / most, power = 10 ** Math.floor(Math.log10(raw));
    const step = Math.max(1, [1, 2, 5, 10].map((m) => m * power).find((m) => m >= raw) ?? raw);
    const ticks = [];
    for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) ticks.push(Math.round(tick));
    return ticks;
  }
  function sizeTicks(from, to, most) {
    let step = 2 ** Math.ceil(Math.log2(Math.max(1, (to - from) / most)));
    const ticks = [];
    for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) ticks.push(tick);
    return ticks;
  }

  let map, rasterStale = true;
  function drawMap() {
    map = surface("map");
    const { context, height, plot, scale } = map;
    const top = 8, tall = height - 28;
    if (rasterStale) { drawRaster(Math.max(1, Math.round(plot * scale)), Math.max(1, Math.round(tall * scale))); rasterStale = false; }
    context.clearRect(0, 0, map.width, height);
    context.drawImage(raster, LEFT, top, plot, tall);
    context.fillStyle = style("--faint");
    context.textAlign = "right";
    for (const tick of sizeTicks(view.a0, view.a1, 7)) context.fillText(human(tick), LEFT - 8, yOf(map, tick) + 4);
    context.textAlign = "center";
    for (const tick of niceTicks(view.t0, view.t1, Math.max(1, Math.min(8, Math.floor(plot / 80))))) {
      context.textAlign = xOf(map, tick) > LEFT + plot - 24 ? "right" : "center";
      context.fillText(grouped(tick), xOf(map, tick), height - 5);
    }
    if (!data.fits) marker(map, done, style("--bad"), [5, 4]);
    drawStrip();
    if (view.chosen >= 0) outline(view.chosen);
    marker(map, view.op + 0.5, style("--ink"), []);
  }
  function marker(s, op, colour, dash) {
    const x = xOf(s, op);
    if (x < LEFT || x > LEFT + s.plot) return;
    s.context.strokeStyle = colour;
    s.context.lineWidth = 1.25;
    s.context.setLineDash(dash);
    s.context.beginPath();
    s.context.moveTo(x, s === map ? 8 : 2);
    s.context.lineTo(x, s.height - (s === map ? 20 : 2));
    s.context.stroke();
    s.context.setLineDash([]);
  }
  function outline(i) {
    const x0 = Math.max(LEFT, xOf(map, start[i])), x1 = Math.min(LEFT + map.plot, xOf(map, end[i]));
    const y0 = Math.max(8, yOf(map, offset[i] + length[i])), y1 = Math.min(map.height - 20, yOf(map, offset[i]));
    if (x1 < x0 || y1 < y0) return;
    map.context.lineWidth = 2;
    map.context.strokeStyle = style("--paper");
    map.context.strokeRect(x0 - 2, y0 - 2, Math.max(3, x1 - x0) + 4, Math.max(2, y1 - y0) + 4);
    map.context.strokeStyle = style("--ink");
    map.context.strokeRect(x0 - 1, y0 - 1, Math.max(3, x1 - x0) + 2, Math.max(2, y1 - y0) + 2);
  }
  // The pool at the chosen operation, beside the map.
  let stripHash = 0;
  function drawStrip() {
    const { context, height } = map, x = LEFT + map.plot + 8;
    context.fillStyle = style("--free");
    context.fillRect(x, 8, STRIP, height - 28);
    stripHash = 2166136261;
    // As in the map: the block that covers most of a row gives its colour.
    const rows = height - 28, scale = rows / (view.a1 - view.a0);
    const covered = new Float32Array(rows), largest = new Float32Array(rows), owner = new Int32Array(rows).fill(-1);
    for (const i of liveAt(view.op)) {
      stripHash = Math.imul(stripHash ^ (i + 1), 16777619);
      const y0 = Math.max(0, (offset[i] - view.a0) * scale), y1 = Math.min(rows, (offset[i] + length[i] - view.a0) * scale);
      for (let row = Math.floor(y0); row < Math.ceil(y1); row++) {
        const part = Math.min(y1, row + 1) - Math.max(y0, row);
        covered[row] += part;
        if (part > largest[row]) { largest[row] = part; owner[row] = i; }
      }
    }
    owner.forEach((i, row) => {
      if (i < 0) return;
      const [r, g, b] = view.colour === "age" ? ageColour(view.op - start[i]) : fixedColour(i);
      context.fillStyle = `rgba(${r},${g},${b},${Math.sqrt(Math.min(1, covered[row]))})`;
      context.fillRect(x, height - 21 - row, STRIP, 1);
    });
  }
  function liveAt(op) {
    const live = [];
    for (let i = 0; i < count && start[i] <= op; i++) if (end[i] > op) live.push(i);
    return live;
  }

  function drawCurve(s, values, most, colour, fill) {
    const { context, height, plot } = s, tall = height - 18;
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, plot, height);
    context.clip();
    context.beginPath();
    for (let i = 0; i < steps; i++) {
      const x = xOf(s, ((i + 0.5) * data.steps_over) / steps), y = 8 + (1 - values[i] / most) * tall;
      if (i === 0) context.moveTo(x, y); else context.lineTo(x, y);
    }
    context.strokeStyle = colour;
    context.lineWidth = 1.6;
    context.stroke();
    if (fill) {
      context.lineTo(xOf(s, Math.min(done, operations)), 8 + tall);
      context.lineTo(xOf(s, 0), 8 + tall);
      context.globalAlpha = 0.13;
      context.fillStyle = colour;
      context.fill();
    }
    context.restore();
  }
  function frame(s, labels, title, titleAt = 20) {
    const { context, height, plot, width } = s, tall = height - 18;
    context.clearRect(0, 0, width, height);
    context.strokeStyle = style("--line");
    context.fillStyle = style("--faint");
    context.textAlign = "right";
    // A label that would cover an earlier one is left out.
    const written = [];
    for (const [share, label] of labels) {
      const y = 8 + (1 - share) * tall;
      context.beginPath();
      context.moveTo(LEFT, y);
      context.lineTo(LEFT + plot, y);
      context.stroke();
      if (written.every((other) => Math.abs(other - y) > 12)) context.fillText(label, LEFT - 8, y + 4);
      written.push(y);
    }
    context.textAlign = "left";
    let x = LEFT + 8, y = titleAt;
    for (const [text, colour] of title) {
      const wide = context.measureText(text).width;
      if (x > LEFT + 8 && x + wide > LEFT + plot) { x = LEFT + 8; y += 14; }
      context.fillStyle = colour;
      context.fillText(text, x, y, LEFT + plot - x);
      x += wide + 14;
    }
  }
  function drawCurves() {
    const live = surface("live");
    frame(live, [[0, "0"], [0.5, human(pool / 2)], [1, human(pool)]], [["live bytes", style("--accent")], ["furthest byte used", style("--reach")]]);
    drawCurve(live, column.reach, pool, style("--reach"), false);
    drawCurve(live, column.live, pool, style("--accent"), true);
    marker(live, view.op + 0.5, style("--ink"), []);
    // A logarithmic scale, since small sizes couldn't be seen beside the pool otherwise.
    const fits = surface("fits"), least = Math.min(64, pool / 2);
    const doublings = (bytes) => Math.log2(Math.max(least, bytes) / least), most = doublings(pool);
    const longest = data.longest_request_bytes;
    frame(fits, [[doublings(longest) / most, human(longest)], [0, human(least)], [1, human(pool)]],
      [["requests up to this size succeed", style("--good")], ["line: the longest request", style("--faint")]], fits.height - 30);
    drawCurve(fits, column.largest.map(doublings), most, style("--good"), true);
    marker(fits, view.op + 0.5, style("--ink"), []);
  }

  // ---- text -----------------------------------------------------------------------------------
  function drawLegend() {
    const legend = $("legend");
    legend.replaceChildren();
    const entry = (colour, text) => {
      const span = element("span"), box = element("i");
      box.style.background = colour;
      span.append(box, text);
      legend.append(span);
    };
    if (view.colour === "size") SIZES.forEach((c, i) => entry(c, i === 11 ? `${human(smallestOf(i))} and more` : `from ${human(i === 0 ? 1 : smallestOf(i))}`));
    if (view.colour === "age") AGES.forEach((c, i) => entry(c, i === 0 ? "just placed" : `${grouped(Math.ceil(2 ** (2.3 * i) - 1))} operations`));
    if (view.colour === "site") {
      if (data.sites.length === 0) legend.append("This recording names no call sites.");
      data.sites.forEach((s, i) => entry(SITES[i], s.name));
      if (data.sites.length) entry("#8d97aa", "others");
    }
    entry(style("--free"), "free");
    entry(style("--never"), "never used so far");
  }
  function list(target, rows) {
    target.replaceChildren();
    for (const [label, value, key] of rows) {
      const dd = element("dd", value);
      if (key !== undefined) dd.dataset.value = key;
      target.append(element("dt", label), dd);
    }
  }
  function drawNow() {
    const step = stepOf(view.op), exact = data.places === data.places_shown;
    const live = liveAt(view.op);
    const liveBytes = exact ? live.reduce((sum, i) => sum + length[i] - waste[i], 0) : column.live[step];
    const blocks = exact ? live.length : column.blocks[step];
    $("now-title").textContent = `At operation ${grouped(view.op + 1)}`;
    list($("now-list"), [
      ["live", human(liveBytes), liveBytes],
      ["blocks", grouped(blocks), blocks],
      ["taken, rounded", human(column.used[step] ?? 0)],
      ["largest free", human(column.largest[step] ?? 0)],
      ["requests it serves", percent((column.share[step] ?? 0) / 1e6)],
      ["furthest used", human(column.reach[step] ?? 0)],
    ]);
    const scrub = $("scrub");
    scrub.min = Math.floor(view.t0);
    scrub.max = Math.max(view.t0, Math.ceil(view.t1) - 1);
    scrub.value = view.op;
    scrub.setAttribute("aria-valuetext", `operation ${grouped(view.op + 1)}`);
  }
  function siteName(id) {
    return data.sites.find((s) => s.id === id)?.name ?? (id ? `site ${id}` : "");
  }
  function drawStory() {
    const story = $("story");
    story.replaceChildren();
    const i = view.chosen;
    if (i < 0) {
      story.append(element("p", "Click a block, or press Enter for the one placed last.", { class: "faint" }));
      return;
    }
    const asked = length[i] - waste[i];
    const rows = [
      ["block", grouped(block[i]), block[i]],
      ["asked for", human(asked), asked],
      ["takes", human(length[i])],
      ["at", `${human(offset[i])} (0x${offset[i].toString(16)})`],
    ];
    if (site[i]) rows.push(["call site", siteName(site[i])]);
    const facts = element("dl", undefined, { class: "list" });
    list(facts, rows);
    story.append(facts);
    const moves = element("ol");
    for (let k = 0; k < count; k++) {
      if (block[k] !== block[i]) continue;
      const life = end[k] >= done && end[k] !== start[k] ? "and stays" : `to ${grouped(end[k] + 1)}`;
      const item = element("li", `from operation ${grouped(start[k] + 1)} ${life}: ${human(length[k] - waste[k])} at ${human(offset[k])}`);
      if (k === i) item.style.fontWeight = 600;
      moves.append(item);
    }
    story.append(moves);
    for (const [label, op] of [["Its first moment", start[i]], ["Its last", end[i] - 1]]) {
      const button = element("button", label, { type: "button" });
      button.onclick = () => scrubTo(op);
      story.append(button);
    }
  }
  const number = (text, key, value) => {
    const made = element("b", text);
    made.dataset.key = key;
    made.dataset.value = value;
    return made;
  };
  function drawText() {
    $("title").textContent = data.trace.split("/").pop();
    $("subtitle").textContent = `${data.allocator} over ${human(data.region_bytes)}, ${grouped(data.operations)} operations`;
    if (data.incomplete) {
      $("incomplete").hidden = false;
      $("incomplete").textContent = `The recording is incomplete: ${data.incomplete}. The program may need more memory than is seen here.`;
    }
    $("verdict").textContent = data.fits ? "fits" : `fails at operation ${grouped(done + 1)}`;
    $("verdict").classList.toggle("no", !data.fits);
    const cards = [
      [human(data.region_bytes), "region_bytes", data.region_bytes, `pool, ${human(data.metadata_bytes)} of it metadata`],
      [human(data.peak.live_bytes), "peak.live_bytes", data.peak.live_bytes, `peak live, in ${grouped(data.peak.live_blocks)} blocks`],
      [data.footprint?.toFixed(3) ?? "–", "footprint", data.footprint, "footprint: pool / peak live"],
      [human(data.reach_bytes), "reach_bytes", data.reach_bytes, "furthest byte ever used"],
      [human(data.worst.largest_free_bytes), "worst.largest_free_bytes", data.worst.largest_free_bytes, `largest free block when most in pieces; ${percent(data.worst.share_served)} of the requests would succeed`],
      [grouped(data.operations_done), "operations_done", data.operations_done, `operations done of ${grouped(data.operations)}`],
    ];
    for (const [text, key, value, note] of cards) {
      const card = element("div", undefined, { class: "card" });
      card.append(number(text, key, value), element("span", note));
      $("cards").append(card);
    }
    document.querySelector('[data-do="failure"]').hidden = data.fits;
    $("left-out").textContent = data.places === data.places_shown ? "" :
      `The map shows ${grouped(data.places_shown)} of ${grouped(data.places)} places that blocks had: the largest by bytes times operations. The curves and numbers count all.`;
  }
  function table(target, head, rows) {
    const row = (name, cells) => {
      const tr = element("tr");
      for (const cell of cells) tr.append(cell instanceof Node ? cell : element(name, cell));
      return tr;
    };
    target.replaceChildren(row("th", head), ...rows.map((cells) => row("td", cells)));
  }
  function histogram(target, bars, label, value) {
    const filled = bars.findIndex((b) => b.count > 0);
    bars = bars.slice(Math.max(0, filled));
    const most = Math.max(1, ...bars.map((b) => b.count));
    for (const bar of bars) {
      const graph = element("span"), line = element("i");
      line.style.width = `${(bar.count / most) * 100}%`;
      graph.append(line);
      target.append(element("span", label(bar)), graph, element("span", value(bar)));
    }
  }
  function drawTables() {
    $("pinning-when").textContent = "All that is live between free pieces " +
      (data.fits ? "when most was live." : "when it failed.") +
      " To keep apart is to stand between two free pieces; the shorter of them counts.";
    const named = data.pinning.slice(0, NAMED_MAX), rest = data.pinning.slice(NAMED_MAX);
    const rows = named.map((p) => [p.name, grouped(p.blocks), human(p.bytes), human(p.keeps_apart_bytes)]);
    if (rest.length) {
      const sum = (key) => rest.reduce((all, p) => all + p[key], 0);
      rows.push([`and ${grouped(rest.length)} more`, grouped(sum("blocks")), human(sum("bytes")), ""]);
    }
    table($("pinning"), [data.sites.length ? "call site" : "block size", "blocks", "their bytes", "keep apart"], rows);
    if (!rows.length) $("pinning").replaceChildren(element("caption", "Nothing: what is free is in one piece.", { class: "faint" }));
    $("sites-panel").hidden = data.sites.length === 0;
    table($("sites"), ["function", "blocks", "bytes in all"], data.sites.map((s) => {
      const name = element("td", s.name);
      if (s.location) name.append(element("small", s.location));
      return [name, grouped(s.blocks), human(s.bytes)];
    }));
    histogram($("sizes"), data.sizes, (b) => b.first === b.last ? human(b.first) : `${human(b.first)} – ${human(b.last + 1)}`, (b) => grouped(b.count));
    histogram($("lifetimes"), data.lifetimes, (b) => b.first === b.last ? grouped(b.first) : `${grouped(b.first)} – ${grouped(b.last)}`, (b) => grouped(b.count));
    const cost = data.cost_ns;
    $("cost-panel").hidden = !cost;
    if (cost) {
      $("cost-note").textContent = `nanoseconds, the shortest of ${cost.runs} runs of each, reading the clock included`;
      histogram($("cost"), [["half", "p50"], ["90 %", "p90"], ["99 %", "p99"], ["99.9 %", "p99_9"], ["all", "max"]].map(([from, key]) => ({ from, count: cost[key] })),
        (b) => `${b.from} within`, (b) => `${grouped(b.count)} ns`);
    }
    const failed = data.post_mortem;
    if (!failed) return;
    $("failure").hidden = false;
    $("failure-text").textContent =
      `Operation ${grouped(failed.operation)} asks for ${human(failed.requested_bytes)}. ${human(failed.free_bytes)} are free, ` +
      `but the largest piece has ${human(failed.largest_free_bytes)}; ${human(failed.live_bytes)} are live in ${grouped(failed.live_blocks)} blocks.`;
    const pieces = Array.isArray(failed.window) ? failed.window : [];
    for (const piece of pieces) {
      const bar = element("i", undefined, { class: piece.kind === "free" ? "free" : "used", title: `${piece.kind}: ${human(piece.bytes)}` });
      bar.style.flex = `${piece.bytes} 0 0`;
      $("window").append(bar);
    }
    $("window").hidden = pieces.length === 0;
    const inTheWay = failed.in_the_way.slice(0, NAMED_MAX).map((g) => `${grouped(g.blocks)} of ${g.name}`).join(", ");
    const others = failed.in_the_way.slice(NAMED_MAX).reduce((all, g) => all + g.blocks, 0);
    $("window-text").textContent = pieces.length
      ? `The cheapest place for it: without ${grouped(failed.in_the_way_blocks)} live blocks (${human(failed.in_the_way_bytes)}) it would have fitted: ${inTheWay}${others ? `, ${grouped(others)} more` : ""}.`
      : "It is larger than the whole pool.";
  }

  // ---- moving about ---------------------------------------------------------------------------
  let waiting = false;
  function draw(stale) {
    rasterStale ||= stale;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(drawNowAll);
  }
  function drawNowAll() {
    waiting = false;
    drawMap();
    drawCurves();
    drawNow();
    root.dataset.op = view.op;
    root.dataset.map = mapHash;
    root.dataset.strip = stripHash >>> 0;
  }
  function scrubTo(op) {
    view.op = Math.max(0, Math.min(Math.max(0, done - 1), Math.round(op)));
    if (view.op < view.t0 || view.op >= view.t1) {
      const span = view.t1 - view.t0;
      view.t0 = Math.max(0, Math.min(operations - span, view.op - span / 2));
      view.t1 = view.t0 + span;
      draw(true);
    }
    draw(false);
  }
  function within(from, to, least, most, span) {
    const wide = Math.max(span, Math.min(most - least, to - from));
    const low = Math.max(least, Math.min(most - wide, from));
    return [low, low + wide];
  }
  function setView(t0, t1, a0, a1) {
    [view.t0, view.t1] = within(t0, t1, 0, operations, Math.min(operations, 20));
    [view.a0, view.a1] = within(a0, a1, 0, pool, Math.min(pool, 512));
    draw(true);
  }
  function zoom(factor, t, a) {
    setView(t - (t - view.t0) * factor, t + (view.t1 - t) * factor, a - (a - view.a0) * factor, a + (view.a1 - a) * factor);
  }
  function choose(i) {
    view.chosen = i;
    drawStory();
    draw(false);
  }
  function setColour(colour) {
    view.colour = colour;
    for (const button of document.querySelectorAll("[data-colour]")) {
      const on = button.dataset.colour === colour;
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
    drawLegend();
    draw(true);
  }
  function setTheme(theme) {
    root.dataset.theme = theme;
    drawLegend();
    draw(true);
  }
  const otherTheme = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  // Zooms by time first. If that can't be zoomed further, it zooms by address; and back.
  const narrow = (factor) => setView(view.op - (view.op - view.t0) * factor, view.op + (view.t1 - view.op) * factor, view.a0, view.a1);
  const flatten = (factor) => {
    const middle = (view.a0 + view.a1) / 2, half = ((view.a1 - view.a0) / 2) * factor;
    setView(view.t0, view.t1, middle - half, middle + half);
  };
  const jump = {
    in: () => view.t1 - view.t0 > 40 ? narrow(0.5) : flatten(0.5),
    out: () => view.a1 - view.a0 < pool ? flatten(2) : narrow(2), all: () => setView(0, shownEnd, 0, pool),
    peak: () => scrubTo(data.peak.operation - 1), worst: () => scrubTo(data.worst.operation - 1), failure: () => scrubTo(done - 1),
  };
  for (const button of document.querySelectorAll("[data-do]")) button.onclick = () => jump[button.dataset.do]();
  const colours = data.sites.length ? ["size", "age", "site"] : ["size", "age"];
  for (const button of document.querySelectorAll("[data-colour]")) {
    button.disabled = !colours.includes(button.dataset.colour);
    if (button.disabled) button.title = "This recording names no call sites";
    button.onclick = () => setColour(button.dataset.colour);
  }
  $("theme").onclick = otherTheme;
  $("scrub").oninput = (event) => scrubTo(Number(event.target.value));

  const spotOf = (event) => {
    const box = $("map").getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    return {
      t: view.t0 + ((x - LEFT) / map.plot) * (view.t1 - view.t0),
      a: view.a0 + ((map.height - 20 - y) / (map.height - 28)) * (view.a1 - view.a0),
    };
  };
  function blockAt({ t, a }) {
    const slop = (1.5 * (view.t1 - view.t0)) / map.plot;
    let best = -1, bestGap = Infinity;
    for (let i = 0; i < count; i++) {
      if (a < offset[i] || a >= offset[i] + length[i] || start[i] > t + slop || end[i] < t - slop) continue;
      const gap = t < start[i] ? start[i] - t : t >= end[i] ? t - end[i] : -1;
      if (gap < bestGap) { bestGap = gap; best = i; }
    }
    return best;
  }
  let drag = null;
  const canvas = $("map");
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, moved: false, ...view };
    if (event.isTrusted) canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) {
      const i = blockAt(spotOf(event));
      canvas.title = i < 0 ? "" :
        `block ${grouped(block[i])}: ${human(length[i] - waste[i])}${site[i] ? `, ${siteName(site[i])}` : ""}, operations ${grouped(start[i] + 1)} to ${grouped(end[i])}`;
      return;
    }
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) < 4 && !drag.moved) return;
    drag.moved = true;
    const t = (-dx / map.plot) * (drag.t1 - drag.t0), a = (dy / (map.height - 28)) * (drag.a1 - drag.a0);
    setView(drag.t0 + t, drag.t1 + t, drag.a0 + a, drag.a1 + a);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) {
      const spot = spotOf(event);
      choose(blockAt(spot));
      scrubTo(spot.t);
    }
    drag = null;
  });
  canvas.addEventListener("dblclick", (event) => { const { t, a } = spotOf(event); zoom(0.4, t, a); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { t, a } = spotOf(event);
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 180), t, a);
  }, { passive: false });
  for (const id of ["live", "fits"]) {
    $(id).addEventListener("pointerdown", (event) => scrubTo(spotOf(event).t));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inField = event.target.id === "scrub";
    const span = view.t1 - view.t0, tall = view.a1 - view.a0;
    const scrub = (by) => scrubTo(view.op + by);
    const pan = (by) => setView(view.t0, view.t1, view.a0 + by * tall, view.a1 + by * tall);
    const keys = {
      ArrowLeft: () => scrub(event.shiftKey ? -1 : -Math.max(1, span / 200)),
      ArrowRight: () => scrub(event.shiftKey ? 1 : Math.max(1, span / 200)),
      ArrowUp: () => pan(0.1), ArrowDown: () => pan(-0.1),
      "+": jump.in, "=": jump.in, "-": jump.out, "0": jump.all,
      p: jump.peak, w: jump.worst, f: () => !data.fits && jump.failure(),
      Home: () => scrubTo(0), End: () => scrubTo(done - 1),
      c: () => setColour(colours[(colours.indexOf(view.colour) + 1) % colours.length]),
      d: otherTheme,
      "[": () => view.chosen >= 0 && scrubTo(start[view.chosen]),
      "]": () => view.chosen >= 0 && scrubTo(end[view.chosen] - 1),
      Escape: () => choose(-1),
    };
    if (event.key === "Enter" && !["BUTTON", "SUMMARY"].includes(event.target.tagName)) {
      const live = liveAt(view.op);
      choose(live.length ? live[live.length - 1] : -1);
      event.preventDefault();
      return;
    }
    const act = keys[event.key];
    if (!act || (event.target.tagName === "SUMMARY" && event.key === "Enter")) return;
    if (inField || !["BUTTON"].includes(event.target.tagName) || event.key.length === 1) {
      act();
      event.preventDefault();
    }
  });
  addEventListener("resize", () => draw(true));
  let beforePrint = null;
  addEventListener("beforeprint", () => {
    beforePrint = root.dataset.theme;
    setTheme("light");
    rasterStale = true;
    drawNowAll();
  });
  addEventListener("afterprint", () => beforePrint && setTheme(beforePrint));

  drawText();
  drawTables();
  setColour("size");
  drawNowAll();
  root.dataset.openedMs = Math.round(performance.now());
  root.dataset.ready = "true";
})();
