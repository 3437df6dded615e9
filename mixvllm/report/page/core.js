"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const P = D.points;
const METRIC = Object.fromEntries(D.metrics.map((metric) => [metric.name, metric]));
const $ = (id) => document.getElementById(id);

/** Returns an element; texts become text, never markup. */
function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const coded = (column, at) => column.values[column.at[at]];
const everyPoint = Array.from({ length: P.num }, (_, at) => at);

/** Returns a value of the configuration as it is typed. */
function shown(value) {
  if (value === null || value === undefined) return "null";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Returns what a point has at a key: swept, or of its configuration. */
function valueOf(at, key) {
  if (key === "study") return D.sources[P.source[at]].name;
  const column = P.labels[key] || D.config.varying[key];
  return column ? coded(column, at) : D.config.common[key];
}

/** Returns the swept values of a point in words: `max_num_seqs=64 max_concurrency=8`. */
function labelsOf(at) {
  const own = D.sources[P.source[at]].swept;
  const keys = own.length ? own : D.swept;
  return keys.map((key) => `${shortKey(key)}=${shown(valueOf(at, key))}`).join(" ") || "the only point";
}
const titleOf = (at) => `${P.name[at]}  ${labelsOf(at)}`;
const shortKey = (key) => key.split(".").pop();
const commandOf = (at) => P.command.at[at].map((word) => P.command.words[word]).join(" ");

/** Returns a number with two digits of `precision`, at most three after the point. */
function rounded(value, precision) {
  let digits = 0;
  while (digits < 3 && precision * 10 ** digits < 10) digits += 1;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
function plain(value) {
  if (value === null || value === undefined) return "–";
  return Math.abs(value) >= 1000 ? rounded(value, 10) : String(Number(value.toPrecision(4)));
}

/** Returns mean, half of the interval and number of repeats of a metric at a point; null where it has none. */
function measured(at, name, perGpu = false) {
  const column = D.values[name];
  if (!column || column.mean[at] === null || coded(P.verdict, at) !== "ok") return null;
  const share = perGpu && METRIC[name].throughput ? P.num_gpus[at] : 1;
  if (!share) return null;
  const half = column.half[at];
  return { mean: column.mean[at] / share, half: half === null ? null : half / share, num: column.num[at] };
}
function inWords(found) {
  if (!found) return "–";
  const { mean, half, num } = found;
  const value = half === null ? plain(mean) : `${rounded(mean, half || Math.abs(mean) / 100)} ±${rounded(half, half || 100)}`;
  return `${value} (n ${num})`;
}
const unitOf = (name, perGpu) => METRIC[name].unit + (perGpu && METRIC[name].throughput ? " per GPU" : "");

/** Returns the indices of the pairs that no other one dominates; less is better in both. */
function paretoFront(costs) {
  const order = costs.map((_, index) => index).filter((index) => costs[index].every((cost) => !Number.isNaN(cost)));
  order.sort((a, b) => costs[a][0] - costs[b][0] || costs[a][1] - costs[b][1] || a - b);
  const front = [];
  let least = Infinity;
  for (const index of order) {
    const last = front.length ? costs[front[front.length - 1]] : null;
    const isEqual = last && last[0] === costs[index][0] && last[1] === costs[index][1];
    if (costs[index][1] < least || isEqual) {
      front.push(index);
      least = costs[index][1];
    }
  }
  return front;
}

function tell(text) {
  $("told").textContent = text;
  $("told").classList.add("shown");
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => $("told").classList.remove("shown"), 1800);
}

/** Copies a text; pages on a disk may have no clipboard, which the old command still reaches. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = el("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    if (!isDone) return tell("could not be copied: select the text instead");
  }
  return tell("copied");
}
const copyButton = (text, words = "Copy", label = null) =>
  el("button", { type: "button", class: "copy", "aria-label": label, onclick: () => copy(text) }, words);
const pointButton = (at) =>
  el("button", { type: "button", class: "link", title: "Show this point", onclick: () => choosePoint(at, true) }, P.name[at]);
const copyCell = (at) =>
  el("td", { class: "command-cell" }, commandOf(at) ? copyButton(commandOf(at), "Copy", `Copy the command of ${P.name[at]}`) : "not known");

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}
const metricOptions = (names) => names.map((name) => [name, `${name} (${METRIC[name].unit})`]);
function table(head, rows) {
  const heads = head.map((cell) => (cell instanceof Node ? cell : el("th", { scope: "col", class: cell === "command" ? "command-cell" : null }, cell)));
  return el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows));
}
const row = (...cells) => el("tr", {}, cells.map((cell) => (cell instanceof Node && cell.tagName === "TD" ? cell : el("td", {}, cell))));
const number = (text) => el("td", { class: "number" }, text);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
