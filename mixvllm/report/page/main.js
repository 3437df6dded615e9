function showSummary() {
  const count = (verdict) => everyPoint.filter((at) => coded(P.verdict, at) === verdict).length;
  const unique = (values) => [...new Set(values.filter((value) => value !== null && value !== undefined && value !== ""))];
  const some = (values, most = 3) =>
    (values.length > most ? `${values.slice(0, most).join(", ")} and ${values.length - most} more` : values.join(", "));
  const models = unique(everyPoint.map((at) => valueOf(at, "model.name")));
  const gpus = unique(everyPoint.map(gpusOf)).sort();
  const hosts = unique(D.servers.map((server) => server.host));
  const hardware = unique(D.servers.map((server) => server.hardware));
  const versions = unique(P.versions.values.filter(Boolean).map((text) => (/(?:^|, )(vllm\S* \S+?)(?:,|$)/.exec(text) || [])[1]));
  const seconds = D.servers.map((server) => server.startup.reduce((sum, one) => sum + (one || 0), 0)).filter((sum) => sum > 0);
  const bad = [["failed", count("failed")], ["invalid", count("invalid")], ["missing", count("missing")]].filter(([, num]) => num);
  const cards = [
    ["points", P.num.toLocaleString("en"), plural(D.sources.length, "folder")],
    ["good", count("ok").toLocaleString("en"), `${P.num_ok.reduce((sum, one) => sum + one, 0).toLocaleString("en")} good repeats`],
    ["not good", bad.reduce((sum, [, num]) => sum + num, 0).toLocaleString("en"), bad.map(([name, num]) => `${num} ${name}`).join(", ") || "none"],
    ["model", some(models.map((name) => name.split("/").slice(-2).join("/"))) || "not known", ""],
    ["GPUs of a server", some(gpus, 6) || "?", some(hardware)],
    ["servers", D.servers.length.toLocaleString("en"), seconds.length ? `${plain(seconds.reduce((sum, one) => sum + one, 0))} s of start-up in all` : ""],
    ["vLLM", some(versions.map((text) => text.split(" ").pop())) || "not known", some(versions.map((text) => text.split(" ")[0]))],
    ["host", some(hosts) || "not known", ""],
  ];
  $("cards").replaceChildren(...cards.map(([name, value, more]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, more) : null))));
  $("lead").textContent = "What vLLM servers achieved under different configurations: how much they produce, how long a " +
    `request waits, what failed and why. Made by mixvllm ${D.version}, ${D.made_at.replace("T", " ").replace("+00:00", " UTC")}.`;
  $("remarks").replaceChildren(...D.remarks.map((text) => el("p", { class: "notice" }, text)));
  $("sources").replaceChildren(table(["name", "kind", "points", "planned", "commit", "folder", "command"], D.sources.map((one) =>
    row(one.name, one.kind, number(String(one.num_points)), one.planned_at || "", (one.commit || "").slice(0, 12),
      el("td", { class: "text" }, one.path), el("td", {}, one.argv ? copyButton(one.argv, "Copy command", `Copy the command of ${one.name}`) : "")))));
  $("footer").textContent = `mixvllm ${D.version}. This page is one file; it loads nothing, and sends nothing.`;
}
function showBest() {
  const rows = D.objectives.map(({ metric, higher, best, rivals, num_rivals: numRivals }) => {
    const is = `${higher ? "highest" : "lowest"} ${metric}`;
    const value = number(`${inWords(measured(best, metric))} ${unitOf(metric)}`);
    if (!numRivals) return row(is, pointButton(best), labelsOf(best), value, copyCell(best));
    const words = measured(best, metric).num < 2
      ? el("span", {}, "no clear winner: a single repeat has no interval")
      : el("span", {}, "no clear winner; overlaps with ", ...rivals.slice(0, 5).flatMap((at) => [pointButton(at), " "]),
        numRivals > 5 ? `and ${numRivals - 5} more` : "");
    return row(is, el("td", {}, pointButton(best), " has the best mean"), words, value, copyCell(best));
  });
  $("best").replaceChildren(rows.length ? table(["objective", "point", "swept values", "mean ± 95 % (n)", "command"], rows)
    : el("p", {}, "Fewer than two points have a good measurement to compare."));
}

function fillChoosers() {
  const names = D.metrics.map((one) => one.name);
  const latencies = names.filter((name) => METRIC[name].unit === "ms" || METRIC[name].unit === "s");
  const throughputs = names.filter((name) => METRIC[name].higher !== false && METRIC[name].unit !== "ms");
  fill($("latency"), metricOptions(latencies.length ? latencies : names), D.axes.latency);
  fill($("throughput"), metricOptions(throughputs.length ? throughputs : names), D.axes.throughput);
  const varied = [...new Set([...D.swept, ...Object.keys(D.config.varying).filter((key) => new Set(D.config.varying[key].at).size > 1)])];
  const keys = [...varied.map((key) => [key, key]), ...(D.sources.length > 1 ? [["study", "folder"]] : [])];
  const groupings = [["", "nothing"], ...keys];
  fill($("tradeoff-by"), groupings, D.axes.by || D.axes.x || (D.sources.length > 1 ? "study" : ""));
  fill($("curve-by"), groupings, D.axes.by || "");
  const across = D.axes.x && !keys.some(([key]) => key === D.axes.x) ? [[D.axes.x, D.axes.x], ...keys] : keys;
  fill($("curve-x"), across.length ? across : [["model.name", "model.name"]], D.axes.x);
  fill($("curve-y"), metricOptions(names), D.axes.y);
  $("per-gpu").checked = P.num_gpus.some((num) => num > 0);
  $("per-gpu").disabled = !$("per-gpu").checked;
  if ($("per-gpu").disabled) $("per-gpu").parentElement.title = "No server is known to have run on a GPU";
  const order = ["ok", "invalid", "failed", "missing"];
  fill($("verdict"), [["", "all"], ...order.filter((one) => P.verdict.values.includes(one)).map((one) => [one, one])], "");
  const main = [...new Set([D.axes.throughput, D.axes.latency, ...D.objectives.map((one) => one.metric)])].filter(Boolean).slice(0, 4);
  $("columns").replaceChildren(...[...main, ...names.filter((name) => !main.includes(name))].map((name) =>
    el("option", { value: name, selected: main.includes(name) }, name)));
  const points = everyPoint.map((at) => [String(at), titleOf(at)]);
  fill($("a"), points, "0");
  fill($("b"), [["", "nothing"], ...points], "");
  const sampled = D.servers.map((server, at) => [String(at), server]).filter(([, server]) => server.series && server.series.t);
  const busiest = [...sampled].sort((a, b) => b[1].series.t.length - a[1].series.t.length)[0];
  fill($("time-server"), sampled.map(([at, server]) => [at, `${titleOf(server.points[0])} · ${server.name}`]), busiest ? busiest[0] : "");
}

const drawers = { tradeoff: drawTradeoff, curves: drawCurves, startup: drawStartup, time: drawTime };
const drawn = new Set();
/** Draws a chart when it comes near the screen, so that the page opens at once. */
function drawWhenNear() {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting && !drawn.has(one.target.id))) {
      drawn.add(entry.target.id);
      drawers[entry.target.id]();
    }
  }, { rootMargin: "500px" });
  for (const id of Object.keys(drawers)) watcher.observe($(id));
}
function drawAll() {
  for (const [id, drawIt] of Object.entries(drawers)) {
    drawn.add(id);
    drawIt();
  }
}
const redraw = () => drawn.forEach((id) => drawers[id]());

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try { localStorage.setItem("mixvllm-theme", name); } catch { /* a page on a disk may keep nothing */ }
  redraw();
}
function savedTheme() {
  try { return localStorage.getItem("mixvllm-theme") || "auto"; } catch { return "auto"; }
}

function listen() {
  const on = (ids, kind, act) => ids.forEach((id) => $(id).addEventListener(kind, act));
  on(["latency", "throughput", "tradeoff-by", "per-gpu", "intervals"], "change", drawTradeoff);
  on(["curve-x", "curve-y", "curve-by", "curve-log"], "change", drawCurves);
  on(["time-server"], "change", drawTime);
  on(["verdict"], "change", filterTable);
  on(["columns"], "change", sortTable);
  on(["a", "b"], "change", () => { showDetail(); showTable(); });
  on(["theme"], "change", () => setTheme($("theme").value));
  let timer = null;
  on(["filter"], "input", () => { clearTimeout(timer); timer = setTimeout(filterTable, 120); });
  for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => { document.documentElement.dataset.printing = "yes"; drawAll(); });
  window.addEventListener("afterprint", () => { delete document.documentElement.dataset.printing; redraw(); });
}

/** Hides a section that has nothing to show. */
function leaveOut(id) {
  delete drawers[id];
  $(id).hidden = true;
  document.querySelector(`nav a[href="#${id}"]`).remove();
}

function start() {
  const theme = savedTheme();
  $("theme").value = theme;
  if (theme !== "auto") document.documentElement.dataset.theme = theme;
  showSummary();
  fillChoosers();
  showBest();
  $("tradeoff-hint").textContent =
    "Up and to the left is better. The dotted line is the front: what no other point beats in both.";
  if (!D.metrics.length) leaveOut("tradeoff");
  if (P.num < 2 || !D.metrics.length) leaveOut("curves");
  if (!D.servers.length) ["startup", "time"].forEach(leaveOut);
  filterTable();
  showDetail();
  showProblems();
  listen();
  drawWhenNear();
  document.documentElement.dataset.ready = "yes";
}
start();
