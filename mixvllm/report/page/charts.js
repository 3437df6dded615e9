const PALETTE = ["#3b78c9", "#d9772b", "#2f9e63", "#c0508f", "#7b61c9", "#9a7b1f", "#1f9aa8", "#c94b4b", "#6b7a8a", "#5f9e2f"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "cross", "star", "triangle-down"];
const MAX_WITH_INTERVALS = 400;
const MAX_SVG = 1500;
const MAX_LEGEND = 12;
const MAX_FRONT = 200;
const isNarrow = () => window.innerWidth < 700;
const hasWebGl = Boolean(document.createElement("canvas").getContext("webgl"));
const kindFor = (count) => (count > MAX_SVG && hasWebGl ? "scattergl" : "scatter");
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Returns a text that Plotly shows as it is: it takes some markup for its own. */
const safe = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function layoutOf(more) {
  const ink = color("--ink");
  const axis = { gridcolor: color("--grid"), linecolor: color("--line"), zerolinecolor: color("--line"), automargin: true, exponentformat: "none" };
  const { xaxis, yaxis, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: isNarrow() ? 11 : 13, family: "system-ui, sans-serif" },
    margin: { l: 60, r: 16, t: 30, b: 48 }, hoverlabel: { align: "left", font: { family: "system-ui, sans-serif" } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, hovermode: "closest", ...rest,
    xaxis: { ...axis, ...xaxis, title: { text: safe(xaxis.title), standoff: 10 } },
    yaxis: { ...axis, ...yaxis, title: { text: safe(yaxis.title), standoff: 10 } },
  };
}
const CONFIG = {
  displaylogo: false, responsive: true,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg", filename: "mixvllm-report" },
};
function draw(id, traces, layout) {
  const place = typeof id === "string" ? $(id) : id;
  return Plotly.react(place, traces, layoutOf(layout), CONFIG);
}
function clickable(id) {
  const place = $(id);
  if (place.dataset.clickable) return;
  place.dataset.clickable = "yes";
  place.on("plotly_click", (event) => {
    const at = event.points[0].customdata;
    if (Number.isInteger(at)) choosePoint(at, true);
  });
}

/** Returns the groups of points by a key, in the order of its values, each with a colour and a symbol. */
function groupsBy(points, key) {
  const groups = new Map();
  for (const at of points) {
    const value = key ? valueOf(at, key) : null;
    const name = key ? `${shortKey(key)}=${shown(value)}` : "points";
    if (!groups.has(name)) groups.set(name, { name, value, points: [] });
    groups.get(name).points.push(at);
  }
  const sorted = [...groups.values()].sort((a, b) => compareValues(a.value, b.value));
  const isScale = sorted.length > MAX_LEGEND && sorted.every((group) => typeof group.value === "number");
  return sorted.map((group, index) => ({
    ...group, color: isScale ? scaleColor(index / (sorted.length - 1)) : PALETTE[index % PALETTE.length],
    symbol: isScale ? "circle" : SYMBOLS[Math.floor(index / PALETTE.length) % SYMBOLS.length],
  }));
}
/** Returns a colour for many numbers in order, from blue over red to yellow. */
const scaleColor = (share) => `hsl(${Math.round((240 + 170 * share) % 360)} 70% ${Math.round(48 + 7 * share)}%)`;
/** Says which colours stand for which values, where they are too many for a legend. */
function noteColors(groups, key) {
  if (groups.length <= MAX_LEGEND) return "";
  return ` Colours: ${key} from ${shown(groups[0].value)} (blue) to ${shown(groups[groups.length - 1].value)} (yellow).`;
}
function compareValues(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : -1;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
const errorsOf = (found, isShown) => ({
  type: "data", array: found.map((one) => one.half || 0), visible: isShown, thickness: 1, width: 3,
});
const hoverOf = (at, lines) => `<b>${safe(P.name[at])}</b><br>${safe(labelsOf(at))}<br>${lines.map(safe).join("<br>")}`;

/** Returns the range of an axis from 0 that shows all means; of wide intervals it cuts what would hide them. */
function rangeOf(found) {
  const most = found.reduce((top, one) => Math.max(top, one.mean), 0);
  const withHalf = found.reduce((top, one) => Math.max(top, one.mean + (one.half || 0)), 0);
  const isPositive = found.every((one) => one.mean >= 0);
  return isPositive && most > 0 ? { range: [0, 1.06 * Math.min(withHalf, 1.6 * most)] } : { rangemode: "tozero" };
}

function drawTradeoff() {
  const [latency, throughput, by] = [$("latency").value, $("throughput").value, $("tradeoff-by").value];
  const perGpu = $("per-gpu").checked;
  const found = everyPoint.map((at) => ({ at, x: measured(at, latency), y: measured(at, throughput, perGpu) }));
  const plotted = found.filter((one) => one.x && one.y);
  const withIntervals = $("intervals").checked && plotted.length <= MAX_WITH_INTERVALS;
  const front = paretoFront(plotted.map((one) => [one.x.mean, -one.y.mean])).map((index) => plotted[index]);
  const byPoint = new Map(plotted.map((one) => [one.at, one]));
  const hover = (one) =>
    hoverOf(one.at, [`${latency}: ${inWords(one.x)} ${unitOf(latency)}`, `${throughput}: ${inWords(one.y)} ${unitOf(throughput, perGpu)}`]);
  const groups = groupsBy(plotted.map((one) => one.at), by);
  const traces = groups.map((group) => {
    const ones = group.points.map((at) => byPoint.get(at));
    return {
      type: kindFor(plotted.length), mode: "markers", name: safe(group.name), customdata: group.points,
      x: ones.map((one) => one.x.mean), y: ones.map((one) => one.y.mean),
      error_x: withIntervals ? errorsOf(ones.map((one) => one.x), true) : undefined,
      error_y: withIntervals ? errorsOf(ones.map((one) => one.y), true) : undefined,
      text: ones.map(hover), hovertemplate: "%{text}<extra></extra>",
      marker: { color: group.color, symbol: group.symbol, size: plotted.length > 500 ? 6 : 10, opacity: plotted.length > 500 ? 0.7 : 1 },
    };
  });
  traces.push({
    type: "scatter", mode: "lines", name: "front", x: front.map((one) => one.x.mean), y: front.map((one) => one.y.mean),
    line: { color: color("--ink"), width: 2, dash: "dot", shape: "hv" }, hoverinfo: "skip",
  });
  draw("tradeoff-chart", traces, {
    showlegend: groups.length <= MAX_LEGEND,
    xaxis: { title: `${latency} (${unitOf(latency)}), less is better`, ...rangeOf(plotted.map((one) => one.x)) },
    yaxis: { title: `${throughput} (${unitOf(throughput, perGpu)})${isNarrow() ? "" : ", more is better"}`, ...rangeOf(plotted.map((one) => one.y)) },
  });
  clickable("tradeoff-chart");
  noteTradeoff(plotted, found, perGpu, withIntervals);
  $("tradeoff-note").textContent += noteColors(groups, by);
  $("front").replaceChildren(
    table(["point", "swept values", latency, `${throughput}${perGpu ? " per GPU" : ""}`, "GPUs", "command"], front.slice(0, MAX_FRONT).map((one) =>
      row(pointButton(one.at), labelsOf(one.at), number(`${inWords(one.x)} ${unitOf(latency)}`),
        number(`${inWords(one.y)} ${unitOf(throughput, perGpu)}`), number(gpusOf(one.at)), copyCell(one.at)))),
    front.length > MAX_FRONT ? `and ${front.length - MAX_FRONT} more` : "");
}
function noteTradeoff(plotted, found, perGpu, withIntervals) {
  const notes = [`${plotted.length.toLocaleString("en")} of ${plural(P.num, "point")} shown.`];
  const bad = everyPoint.filter((at) => coded(P.verdict, at) !== "ok").length;
  if (bad) notes.push(`${bad.toLocaleString("en")} failed, invalid or missing: listed under Problems.`);
  if (perGpu) {
    const cpu = found.filter((one) => P.num_gpus[one.at] === 0).length;
    const unknown = found.filter((one) => P.num_gpus[one.at] === null).length;
    if (cpu) notes.push(`${cpu} on CPUs have no throughput per GPU.`);
    if (unknown) notes.push(`Of ${unknown} the number of GPUs is not known.`);
  }
  if ($("intervals").checked && !withIntervals && plotted.length) notes.push("Intervals are in the hover text: too many points to draw them.");
  if (withIntervals) notes.push("Bars are 95 % intervals, cut where they leave the chart.");
  notes.push("Select a point for its configuration and command.");
  $("tradeoff-note").textContent = notes.join(" ");
}
const gpusOf = (at) => (P.num_gpus[at] === null ? "?" : P.num_gpus[at] === 0 ? "0 (CPU)" : String(P.num_gpus[at]));

/** Whether two keys of a sweep vary together, so that a line may join points that differ in both. */
const areZipped = (source, ...keys) => source.zip.some((zipped) => keys.every((key) => zipped.includes(key)));

function drawCurves() {
  const [x, y, by] = [$("curve-x").value, $("curve-y").value, $("curve-by").value];
  if (!x || !y) return;
  const plotted = everyPoint.filter((at) => measured(at, y));
  const restOf = D.sources.map((source) => source.swept.filter((key) => ![x, by].includes(key) && !areZipped(source, key, x)));
  const withIntervals = plotted.length <= MAX_WITH_INTERVALS;
  const isNumeric = plotted.every((at) => typeof valueOf(at, x) === "number");
  const traces = [];
  const groups = groupsBy(plotted, by);
  for (const group of groups) {
    const lines = new Map();
    for (const at of group.points) {
      const line = JSON.stringify([P.source[at], ...restOf[P.source[at]].map((key) => valueOf(at, key))]);
      if (!lines.has(line)) lines.set(line, []);
      lines.get(line).push(at);
    }
    const joined = [];
    for (const line of lines.values()) {
      joined.push(...line.sort((a, b) => compareValues(valueOf(a, x), valueOf(b, x))), null);
    }
    joined.pop();
    const ones = joined.map((at) => (at === null ? null : measured(at, y)));
    traces.push({
      type: kindFor(plotted.length), mode: joined.length > MAX_SVG ? "markers" : "lines+markers", name: safe(group.name),
      x: joined.map((at) => (at === null ? null : isNumeric ? valueOf(at, x) : safe(shown(valueOf(at, x))))),
      y: ones.map((one) => (one ? one.mean : null)), customdata: joined, connectgaps: false,
      error_y: withIntervals ? errorsOf(ones.map((one) => one || { half: 0 }), true) : undefined,
      text: joined.map((at, index) => (at === null ? "" : hoverOf(at, [`${y}: ${inWords(ones[index])} ${unitOf(y)}`]))),
      hovertemplate: "%{text}<extra></extra>",
      line: { color: group.color, width: 2 }, marker: { color: group.color, symbol: group.symbol, size: plotted.length > 500 ? 5 : 8 },
    });
  }
  const isLog = isNumeric && $("curve-log").checked;
  draw("curve-chart", traces, {
    showlegend: groups.length <= MAX_LEGEND,
    xaxis: { title: D.key_labels[x] || x, type: isLog ? "log" : isNumeric ? "linear" : "category" },
    yaxis: { title: `${y} (${unitOf(y)})`, ...rangeOf(plotted.map((at) => measured(at, y))) },
  });
  clickable("curve-chart");
  $("curve-note").textContent = plotted.length
    ? `${plural(plotted.length, "point")} with a good measurement of ${y}${withIntervals ? "; bars are 95 % intervals, cut where they leave the chart" : "; intervals are in the hover text"}.${noteColors(groups, by)}`
    : `No good measurement of ${y}.`;
}
const MAX_BARS = 30;
function drawStartup() {
  const known = D.servers.map((server, at) => ({ ...server, at, total: server.startup.reduce((sum, one) => sum + (one || 0), 0) }));
  const slowest = known.filter((one) => one.total > 0).sort((a, b) => b.total - a.total);
  const bars = slowest.slice(0, MAX_BARS).reverse();
  $("startup-chart").style.height = `${Math.max(220, (isNarrow() ? 240 : 110) + 26 * bars.length)}px`;
  const nameOf = (one) => `${P.name[one.points[0]]}${one.points.length > 1 ? ` +${one.points.length - 1}` : ""} · ${one.name}`;
  draw("startup-chart", D.phases.map((phase, index) => ({
    type: "bar", orientation: "h", name: phase, x: bars.map((one) => one.startup[index]), y: bars.map((one) => safe(nameOf(one))),
    customdata: bars.map((one) => one.points[0]), marker: { color: PALETTE[index] },
    hovertemplate: `%{y}<br>${phase}: %{x:.2f} s<extra></extra>`,
  })), { barmode: "stack", legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal" }, xaxis: { title: "time since the start of the process (s)" }, yaxis: { title: isNarrow() ? "" : "first point · server run", type: "category" } });
  clickable("startup-chart");
  const starts = slowest.map((one) => one.total).sort((a, b) => a - b);
  $("startup-note").textContent = starts.length
    ? `${plural(starts.length, "server")}; median ${plain(starts[Math.floor(starts.length / 2)])} s, shortest ${plain(starts[0])} s, longest ` +
      `${plain(starts[starts.length - 1])} s.${starts.length > MAX_BARS ? ` The slowest ${MAX_BARS} are shown.` : ""}`
    : "No start of a server is recorded.";
}

const PANELS = [
  ["Requests", "requests", [["running", "running"], ["waiting", "waiting"]]],
  ["Tokens", "tokens/s", [["generation", "generated"], ["prompt", "prompt"]]],
  ["Latency, as the server measures it", "ms", [["ttft", "time to first token"], ["itl", "between tokens"]]],
  ["KV cache in use", "fraction, 0 to 1", [["kv_cache", "KV cache"]]],
  ["GPU utilization", "%", "utilization"],
  ["GPU memory", "GiB", "gpu_memory"],
  ["GPU power", "W", "power"],
  ["CPU of its processes", "% of one core", [["cpu", "CPU"]]],
  ["Memory of its processes", "GiB", [["memory", "memory"]]],
];
function drawTime() {
  const server = D.servers[Number($("time-server").value)];
  const place = $("time-charts");
  for (const chart of place.querySelectorAll(".chart")) Plotly.purge(chart);
  place.replaceChildren();
  if (!server || !server.series || !server.series.t) {
    $("time-note").textContent = server ? "No samples of this server are in the report." : "No server is recorded.";
    return;
  }
  const series = server.series;
  const facts = [`server run ${server.name}`, server.host && `on ${server.host}`, server.hardware, server.job && `Slurm job ${server.job}`,
    `${plural(server.num_starts, "start")}`, `state ${server.state}`].filter(Boolean);
  $("time-note").textContent = `${facts.join(", ")}. Shaded: while a point was measured. ${plural(series.t.length, "sample")}. Folder: ${server.path}`;
  const panels = PANELS.map(([title, unit, wanted]) => [title, unit, linesOf(series, wanted)]).filter(([, , lines]) => lines.length);
  const charts = panels.map(([title]) => el("div", { class: "chart", role: "img", "aria-label": `${title} over time` }));
  place.append(...panels.map(([title], index) => el("div", {}, el("h3", {}, title), charts[index])));
  panels.forEach(([, unit, lines], index) => drawPanel(charts[index], series, lines, unit, server.spans || []));
}
function linesOf(series, wanted) {
  if (typeof wanted !== "string") return wanted.filter(([name]) => series[name]);
  return Object.keys(series).filter((name) => name.startsWith(`${wanted}.`)).map((name) => [name, `GPU ${name.split(".")[1]}`]);
}
/** Returns the times in which anything was measured, without overlaps. */
function merged(spans) {
  const found = [];
  for (const [, , from, to] of [...spans].sort((a, b) => a[2] - b[2])) {
    const last = found[found.length - 1];
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found.slice(0, 300);
}
function drawPanel(chart, series, lines, unit, spans) {
  draw(chart, lines.map(([name, words], index) => ({
    type: "scatter", mode: series.t.length < 60 ? "lines+markers" : "lines", name: words, x: series.t, y: series[name], line: { color: PALETTE[index % PALETTE.length], width: 1.5 }, marker: { size: 4 },
    hovertemplate: `${words}: %{y} ${unit}<br>after %{x} s<extra></extra>`,
  })), {
    margin: { l: 60, r: 10, t: 24, b: 40 }, showlegend: lines.length > 1,
    xaxis: { title: "since the start (s)" }, yaxis: { title: unit, rangemode: "tozero" },
    shapes: merged(spans).map(([from, to]) => ({
      type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, line: { width: 0 }, fillcolor: color("--link"), opacity: 0.1, layer: "below",
    })),
  });
}
