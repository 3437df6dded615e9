const PAGE = 50;
const view = { rows: [], page: 0, sort: null, isDown: false };

/** Returns what tells whether a point fits the filter: words; key=value; key or metric with < > <= >=. */
function parseFilter(text) {
  const tests = text.trim().split(/\s+/).filter(Boolean).map((word) => {
    const found = /^([\w.+-]+?)(<=|>=|=|<|>)(.+)$/.exec(word);
    const key = found && resolveName(found[1]);
    if (!key) return (at) => textOf(at).includes(word.toLowerCase());
    const [, , relation, wanted] = found;
    return (at) => {
      const value = D.values[key] ? (measured(at, key) || { mean: null }).mean : valueOf(at, key);
      if (relation === "=") return shown(value).toLowerCase() === wanted.toLowerCase();
      if (value === null || value === undefined || Number.isNaN(Number(wanted))) return false;
      const [a, b] = [Number(value), Number(wanted)];
      return relation === "<" ? a < b : relation === ">" ? a > b : relation === "<=" ? a <= b : a >= b;
    };
  });
  return (at) => tests.every((test) => test(at));
}
const knownNames = [...new Set([...D.swept, ...Object.keys(D.config.varying), ...Object.keys(D.config.common), ...D.metrics.map((one) => one.name)])];
const resolveName = (name) => knownNames.find((known) => known === name) || knownNames.find((known) => shortKey(known) === name);
const texts = new Map();
function textOf(at) {
  if (!texts.has(at)) {
    const words = [P.name[at], labelsOf(at), coded(P.verdict, at), coded(P.reason, at), coded(P.cause, at), P.hash[at], valueOf(at, "model.name")];
    texts.set(at, words.filter(Boolean).join(" ").toLowerCase());
  }
  return texts.get(at);
}

const shownMetrics = () => [...$("columns").selectedOptions].map((option) => option.value);
function columnsOf() {
  return [
    { name: "point", value: (at) => at, cell: (at) => el("td", {}, pointButton(at)) },
    { name: "command", value: null, cell: copyCell },
    ...D.swept.map((key) => ({
      name: shortKey(key), title: key, value: (at) => valueOf(at, key), cell: (at) => el("td", { class: "text" }, shown(valueOf(at, key))),
    })),
    { name: "verdict", value: (at) => coded(P.verdict, at), cell: (at) => el("td", { class: coded(P.verdict, at) }, coded(P.verdict, at)) },
    { name: "good", unit: "repeats", value: (at) => P.num_ok[at], cell: (at) => number(`${P.num_ok[at]}/${P.num_repeats[at]}`) },
    { name: "GPUs", value: (at) => P.num_gpus[at], cell: (at) => number(gpusOf(at)) },
    ...shownMetrics().map((name) => ({
      name, unit: `${METRIC[name].unit}; mean ± 95 % (n)`, isNumber: true, value: (at) => (measured(at, name) || { mean: null }).mean,
      cell: (at) => number(inWords(measured(at, name))),
    })),
    { name: "why", value: (at) => coded(P.reason, at), cell: (at) => whyCell(coded(P.reason, at)) },
  ];
}

/** Returns a reason, three lines of it; the whole is in its point and under Problems. */
const whyCell = (reason) => (reason ? el("td", { class: "text why", title: reason }, el("div", {}, reason)) : el("td"));

function filterTable() {
  const fits = parseFilter($("filter").value);
  const verdict = $("verdict").value;
  view.rows = everyPoint.filter((at) => (!verdict || coded(P.verdict, at) === verdict) && fits(at));
  view.page = 0;
  sortTable();
}
function sortTable() {
  const column = columnsOf().find((one) => one.name === view.sort && one.value);
  if (column) {
    const known = view.rows.filter((at) => ![null, undefined].includes(column.value(at)));
    const unknown = view.rows.filter((at) => [null, undefined].includes(column.value(at)));
    known.sort((a, b) => (view.isDown ? -1 : 1) * compareValues(column.value(a), column.value(b)) || a - b);
    view.rows = [...known, ...unknown]; // what was not measured is never first
  }
  showTable();
}
function showTable() {
  const columns = columnsOf();
  const num = view.rows.length;
  const pages = Math.max(1, Math.ceil(num / PAGE));
  view.page = Math.min(view.page, pages - 1);
  const rows = view.rows.slice(view.page * PAGE, (view.page + 1) * PAGE);
  const head = columns.map((column) => {
    const isSorted = view.sort === column.name;
    const arrow = isSorted ? (view.isDown ? " ▼" : " ▲") : "";
    const text = column.value
      ? el("button", { type: "button", title: column.title, onclick: () => sortBy(column.name) }, column.name + arrow)
      : column.name;
    const order = isSorted ? (view.isDown ? "descending" : "ascending") : null;
    const properties = { scope: "col", title: column.title, "aria-sort": order, class: column.name === "command" ? "command-cell" : null };
    return el("th", properties,
      text, column.unit ? el("small", {}, column.unit) : null);
  });
  const focused = document.activeElement && document.activeElement.closest("#table th") ? view.sort : null;
  $("table").replaceChildren(table(head, rows.map((at) =>
    el("tr", { class: [$("a").value, $("b").value].includes(String(at)) ? "chosen" : null }, columns.map((column) => column.cell(at))))));
  if (focused) [...$("table").querySelectorAll("th button")].find((one) => one.textContent.startsWith(focused))?.focus();
  $("table-note").textContent = `${num.toLocaleString("en")} of ${plural(P.num, "point")}. Select a heading to sort; what was not measured comes last.`;
  const turn = (by, words) => el("button", { type: "button", disabled: view.page + by < 0 || view.page + by >= pages,
    onclick: () => { view.page += by; showTable(); } }, words);
  $("pager").replaceChildren(...(pages > 1 ? [turn(-1, "Previous"), `page ${view.page + 1} of ${pages}`, turn(1, "Next")] : []));
}
function sortBy(name) {
  view.isDown = view.sort === name ? !view.isDown : false;
  view.sort = name;
  sortTable();
}
