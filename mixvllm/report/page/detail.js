/** Shows a point in its section, and its server over time. */
function choosePoint(at, isScrolled) {
  $("a").value = String(at);
  showDetail();
  showTable();
  const server = P.servers[at][P.servers[at].length - 1];
  if (server !== undefined && $("time-server").value !== String(server)) {
    $("time-server").value = String(server);
    if ($("time-server").value) drawTime();
  }
  if (isScrolled) {
    $("point").scrollIntoView();
    $("a").focus({ preventScroll: true });
  }
}
function showDetail() {
  const [a, b] = [$("a").value, $("b").value];
  const points = [a, b].filter((value) => value !== "").map(Number);
  const isTwo = points.length === 2 && a !== b;
  $("detail").replaceChildren(...(isTwo ? differenceOf(...points) : aboutPoint(points[0])));
}
function commandBox(title, text, words) {
  return el("div", {}, el("h3", {}, title), el("p", { class: "hint" }, words),
    el("div", { class: "command" }, el("pre", {}, text), copyButton(text)));
}
function aboutPoint(at) {
  if (at === undefined) return [el("p", {}, "There is no point.")];
  const source = D.sources[P.source[at]];
  const verdict = coded(P.verdict, at);
  const facts = [
    ["verdict", el("span", { class: verdict }, `${verdict}, ${P.num_ok[at]} of ${plural(P.num_repeats[at], "repeat")} good`)],
    ["why", coded(P.reason, at)],
    ["cause", coded(P.cause, at) && el("pre", {}, coded(P.cause, at))],
    ["note", coded(P.remarks, at)],
    ["swept values", labelsOf(at)],
    ["GPUs of its server", gpusOf(at)],
    ["server ready after", P.ready_s[at] === null ? null : `${plain(P.ready_s[at])} s (${coded(P.start, at) || "start not told"})`],
    ["servers", P.servers[at].map((one) => `${D.servers[one].name}${D.servers[one].host ? ` on ${D.servers[one].host}` : ""}`).join(", ")],
    ["hardware", [...new Set(P.servers[at].map((one) => D.servers[one].hardware).filter(Boolean))].join(", ")],
    ["versions", coded(P.versions, at)],
    ["commit", source.commit && `${source.commit}${source.is_changed ? ", with changes that were not committed" : ""}`],
    ["content hash", P.hash[at]], ["server key", coded(P.server_key, at)], ["folder", source.path],
  ].filter(([, value]) => value);
  const command = commandOf(at);
  const argv = coded(P.argv, at);
  return [
    el("h3", {}, titleOf(at)),
    el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, facts.map(([name, value]) => row(el("td", {}, name), el("td", { class: "text" }, value)))))),
    ...(command ? [commandBox("Measure it again", command, "Composes, checks, serves and measures this one point.")] : []),
    ...(argv ? [commandBox("Its server alone", argv, "What was started; the port is chosen at the start.")] : []),
    el("div", { class: "columns" },
      el("details", { open: true }, el("summary", {}, "Metrics"), el("div", { class: "scroll" }, metricTable([at]))),
      el("details", {}, el("summary", {}, "Configuration: what is set"), el("div", { class: "scroll" }, configTable(at)))),
  ];
}
function metricTable(points) {
  const names = D.metrics.map((one) => one.name).filter((name) => points.some((at) => measured(at, name)));
  if (!names.length) return el("p", {}, "No good repeat: there are no numbers.");
  const head = ["metric", "unit", ...points.map((at) => P.name[at]), ...(points.length > 1 ? ["difference"] : [])];
  return table(head, names.map((name) => {
    const found = points.map((at) => measured(at, name));
    return row(el("td", { title: METRIC[name].words }, name), METRIC[name].unit, ...found.map((one) => number(inWords(one))),
      ...(points.length > 1 ? [number(changeOf(...found))] : []));
  }));
}
/** Returns the change in words; where the intervals overlap it is not clear. */
function changeOf(a, b) {
  if (!a || !b) return "–";
  const percent = a.mean ? `${b.mean >= a.mean ? "+" : ""}${(((b.mean - a.mean) / Math.abs(a.mean)) * 100).toFixed(1)} %` : plain(b.mean - a.mean);
  const isClear = a.half !== null && b.half !== null && Math.abs(a.mean - b.mean) > a.half + b.half;
  return isClear || a.mean === b.mean ? percent : `${percent}, not clear`;
}
function configOf(at) {
  const own = Object.keys(D.config.varying).map((key) => [key, valueInConfig(at, key)]);
  return { ...D.config.common, ...Object.fromEntries(own) };
}
const valueInConfig = (at, key) => coded(D.config.varying[key], at);
const isSet = (value) => !(value === null || value === undefined || (typeof value === "object" && !Object.keys(value).length));
function configTable(at) {
  const config = Object.entries(configOf(at)).filter(([, value]) => isSet(value)).sort(([a], [b]) => a.localeCompare(b));
  return table(["key", "value"], config.map(([key, value]) => row(key, el("td", { class: "text" }, shown(value)))));
}
function differenceOf(a, b) {
  const [one, other] = [configOf(a), configOf(b)];
  const keys = [...new Set([...Object.keys(one), ...Object.keys(other)])].filter((key) => shown(one[key]) !== shown(other[key])).sort();
  const facts = [["verdict", coded(P.verdict, a), coded(P.verdict, b)], ["GPUs of its server", gpusOf(a), gpusOf(b)],
    ["versions", coded(P.versions, a), coded(P.versions, b)]].filter(([, left, right]) => left !== right);
  const rows = [...facts, ...keys.map((key) => [key, shown(one[key]), shown(other[key])])];
  return [
    el("h3", {}, "What differs"),
    rows.length
      ? el("div", { class: "scroll", id: "difference" }, table(["key", P.name[a], P.name[b]],
        rows.map(([key, left, right]) => row(key, el("td", { class: "text" }, left), el("td", { class: "text" }, right)))))
      : el("p", {}, "Nothing in their configurations."),
    el("h3", {}, "Metrics"),
    el("p", { class: "hint" }, "The difference is of the second point from the first; not clear: the 95 % intervals overlap, or a single repeat has none."),
    el("div", { class: "scroll" }, metricTable([a, b])),
    ...[a, b].filter((at) => commandOf(at)).map((at) => commandBox(`Command of ${P.name[at]}`, commandOf(at), "")),
  ];
}

function showProblems() {
  const groups = new Map();
  for (const at of everyPoint) {
    const verdict = coded(P.verdict, at);
    const reason = coded(P.reason, at);
    if (verdict === "ok" && !reason) continue;
    const key = JSON.stringify([verdict, reason, coded(P.cause, at)]);
    if (!groups.has(key)) groups.set(key, { verdict, reason, cause: coded(P.cause, at), points: [] });
    groups.get(key).points.push(at);
  }
  const order = ["failed", "invalid", "missing", "ok"];
  const sorted = [...groups.values()].sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict) || b.points.length - a.points.length);
  const boxes = sorted.slice(0, 200).map((group) => {
    const words = group.verdict === "ok" ? "measured, but some repeats are not good" : group.verdict;
    const some = group.points.slice(0, 12);
    return el("div", { class: `problem ${group.verdict}` },
      el("p", {}, el("strong", { class: group.verdict }, `${plural(group.points.length, "point")} ${words}: `), group.reason || "no reason is recorded"),
      group.cause ? el("pre", {}, group.cause) : null,
      el("p", {}, ...some.flatMap((at) => [pointButton(at), ` ${labelsOf(at)}; `]), group.points.length > some.length ? `and ${group.points.length - some.length} more` : ""));
  });
  $("problem-list").replaceChildren(...(boxes.length ? boxes : [el("p", {}, "None: all points are measured, and can be trusted.")]),
    sorted.length > 200 ? el("p", {}, `and ${sorted.length - 200} more kinds`) : "");
}
