// Episodes on a time line, as a list, and in every detail on demand.

import { bytes, choice, clock, count, countryName, duration, h, moment, percent, placeName, plural, settle, sync, timeElement } from "./words.js";

const $ = (id) => document.getElementById(id);
const PAGE = 25;
const SPAN = 86400000;
const LANES = 9;

const known = new Map();
let kind = "violations";
let shown = PAGE;
let planned = false;

const FILTERS = {
  violations: (row) => row.kind === "transfer",
  attempts: (row) => row.kind === "attempt",
  exceptions: (row) => row.kind === "exception",
  coverage: (row) => row.kind === "coverage",
};

const later = () => {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => { planned = false; draw(); });
};

export const startEpisodes = () => {
  choice($("episode-kinds"), [["violations", "Violations"], ["attempts", "Attempts"], ["exceptions", "Exceptions"], ["coverage", "Coverage"]], kind, (chosen) => {
    kind = chosen;
    shown = PAGE;
    draw();
  });
  $("timeline").append(h("svg", { class: "timeline", role: "img", preserveAspectRatio: "none" }), h("div", { class: "axis", "aria-hidden": "true" }));
  $("episodes").append(h("p", { class: "none" }), h("ol", { class: "episodes" }), h("button", { type: "button", class: "more", onclick: () => { shown += 100; draw(); } }));
  new ResizeObserver(later).observe($("timeline"));
};

export const showEpisodes = (rows) => {
  known.clear();
  for (const row of rows) known.set(row.id, row);
  later();
};

export const changeEpisode = (row) => { known.set(row.id, row); later(); };

const draw = () => {
  const rows = [...known.values()].filter(FILTERS[kind]).sort((a, b) => b.open - a.open || b.last_seen - a.last_seen || (a.id < b.id ? 1 : -1));
  for (const button of $("episode-kinds").children) {
    const n = [...known.values()].filter(FILTERS[button.dataset.value]).length;
    const label = button.dataset.value[0].toUpperCase() + button.dataset.value.slice(1);
    const said = n ? `${label} ${count(n)}` : label;
    if (button.textContent !== said) button.textContent = said;
  }
  drawLine(rows);
  drawList(rows);
};

// Bars from first to last byte, stacked where they overlap; where there are too many, the last lane takes the rest.
const drawLine = (rows) => {
  const box = $("timeline");
  const svg = box.firstElementChild;
  const now = Date.now();
  const begin = now - SPAN;
  const width = Math.max(box.clientWidth, 200);
  const inside = rows.filter((row) => row.open || row.last_seen >= begin).sort((a, b) => a.first_seen - b.first_seen);
  box.hidden = inside.length === 0;
  if (box.hidden) return;
  const x = (time) => (Math.min(Math.max(time, begin), now) - begin) / SPAN * width;
  const ends = [];
  const bars = inside.map((row) => {
    const left = x(row.first_seen);
    const right = Math.max(x(row.open ? now : row.last_seen), left + 3);
    let lane = ends.findIndex((end) => end + 1 <= left);
    if (lane < 0) lane = Math.min(ends.length, LANES - 1);
    ends[lane] = Math.max(ends[lane] ?? 0, right);
    return { row, left, right, lane };
  });
  const pitch = 11;
  const height = Math.max(3, ends.length) * pitch;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  svg.setAttribute("aria-label", `${plural(inside.length, "episode")} in the last 24 hours, ${count(inside.filter((row) => row.open).length)} open; the list below has each`);
  const paths = new Map();
  for (const { row, left, right, lane } of bars) {
    const name = `bar ${row.severity}${row.open ? " open" : ""}`;
    // One path for all bars of a look: a thousand of them cost as much as one.
    paths.set(name, `${paths.get(name) ?? ""}M${left.toFixed(1)} ${lane * pitch + 1}h${(right - left).toFixed(1)}v8h-${(right - left).toFixed(1)}z`);
  }
  const hours = [];
  for (let t = Math.ceil(begin / 10800000) * 10800000; t < now; t += 10800000) hours.push(t);
  svg.replaceChildren(...hours.map((t) => h("line", { x1: x(t), x2: x(t), y1: 0, y2: height })), ...[...paths].map(([name, d]) => h("path", { class: name, d })));
  const every = width < 520 ? 2 : 1;
  box.lastElementChild.replaceChildren(...hours.filter((_, i) => i % every === 0).map((t) => {
    const label = h("span", null, clock(new Date(t)).slice(0, 5));
    label.style.setProperty("left", `${x(t) / width * 100}%`);
    return label;
  }));
};

const ABSENT = {
  violations: "No data has left against policy in the records this page has.",
  attempts: "No attempt to connect to a place that is not approved.",
  exceptions: "No exception has been used.",
  coverage: "Nothing has been missing from what is watched.",
};

const drawList = (rows) => {
  const [none, list, more] = $("episodes").children;
  none.textContent = ABSENT[kind];
  none.hidden = rows.length > 0;
  sync(list, rows.slice(0, shown), (row) => row.id, make, update);
  more.hidden = rows.length <= shown;
  more.textContent = `Show more: ${plural(Math.max(0, rows.length - shown), "episode")} not shown`;
};

const make = (row) => {
  const id = `e-${row.id}`;
  const details = h("div", { class: "details", id, hidden: true });
  const button = h("button", { type: "button", class: "episode", "aria-expanded": "false", "aria-controls": id, onclick: () => toggle(item) },
    h("span", { class: "severity" }), h("span", { class: "what" }), h("span", { class: "who" }), h("span", { class: "size number" }), h("span", { class: "when" }));
  const item = h("li", { "data-id": row.id }, button, details);
  return item;
};

const SAID = { "not-approved": "not approved", denied: "denied", "unknown-location": "unknown location", "unmapped-private": "unmapped private", "disputed-location": "disputed", "anycast-location": "anycast", "exception-exceeded": "exception exceeded", "exception-expired": "exception expired" };

const update = (item, row) => {
  const said = JSON.stringify(row);
  if (item.dataset.said === said) return;
  const changed = item.dataset.said !== undefined;
  item.dataset.said = said;
  item.className = `${row.severity}${row.open ? " open" : ""}`;
  const [severity, what, who, size, when] = item.firstElementChild.children;
  severity.textContent = row.severity;
  what.replaceChildren(h("strong", null, row.kind === "coverage" ? row.title : placeName(row.place)), " ", h("span", { class: "minor" }, SAID[row.rule] ?? row.rule));
  who.textContent = row.owner;
  size.textContent = row.wire_bytes ? bytes(row.wire_bytes) : "";
  when.replaceChildren(row.open ? h("span", { class: "now" }, "open") : "", row.open ? ` since ${moment(row.first_seen)}` : `${moment(row.first_seen)}, ${duration(row.last_seen - row.first_seen)}`);
  if (changed && item.firstElementChild.getAttribute("aria-expanded") === "true") fill(item);
};

const toggle = (item) => {
  const [button, details] = item.children;
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  details.hidden = !open;
  if (open) fill(item);
};

const fill = async (item) => {
  const details = item.lastElementChild;
  const answer = await fetch(`/api/v1/episodes/${item.dataset.id}`);
  if (!answer.ok) { details.replaceChildren(h("p", { class: "none" }, "This episode is not remembered any more; it is in the records.")); return; }
  settle(details, describe(await answer.json()));
};

const row = (name, ...value) => {
  const words = value.flat().filter((part) => part !== null && part !== undefined && part !== "" && part !== false);
  return words.length ? h("div", null, h("dt", null, name), h("dd", null, ...words)) : "";
};

const INITIATORS = { local: "this host connected", remote: "they connected and fetched", unknown: "not known" };
const QUALITY = { exact: "named by the kernel at the time", inherited: "as who opened the socket", resolved: "looked up afterwards", unknown: "not certain" };
const number = (counted) => (counted ? `${counted.at_least ? "at least " : ""}${count(counted.count)}` : null);

const describe = (view) => {
  const { process } = view;
  const main = h("dl", null,
    row("Why", view.reason),
    row("Where", placeName(view.place), view.place.country && view.place.kind === "site" ? ` (${countryName(view.place.country)})` : null),
    row("How much", bytes(view.wire_bytes), view.payload_bytes ? `, ${bytes(view.payload_bytes)} of it payload (${percent(view.payload_bytes, view.wire_bytes)})` : null),
    row("Who", view.owner, view.owner_quality ? h("span", { class: "minor" }, QUALITY[view.owner_quality] ?? view.owner_quality) : null),
    row("Process", process?.exe ? h("code", null, process.exe) : null, process?.pid ? ` pid ${process.pid}` : null, process?.user ? `, user ${process.user}` : null, view.processes?.count > 1 ? `, ${number(view.processes)} processes took part` : null),
    row("Command", process?.command_line ? h("code", null, process.command_line) : null),
    row("Unit", view.unit), row("Container", view.container ? h("code", null, view.container) : null), row("Control group", view.cgroup ? h("code", null, view.cgroup) : null),
    row("Opened by", INITIATORS[view.initiator] ?? null),
    row("From, to", timeElement(view.first_seen), " to ", timeElement(view.last_seen), view.open ? ", still open" : `, closed: ${view.transition_reason ?? "yes"}`),
    row("Policy", view.policy, view.policy_hash ? h("code", { class: "minor", title: view.policy_hash }, view.policy_hash.slice(0, 12)) : null),
    row("Exception", view.exception),
    row("May be", view.suspects ? view.suspects.join("; ") : null),
    row("Older than the agent", view.pre_existing ? "yes: bytes before the agent's start are not in these numbers" : null),
    row("Lost meanwhile", view.losses?.length ? view.losses.map((loss) => `${loss.cause} ${count(loss.count)}`).join(", ") : null),
    row("Episode", h("code", null, view.id)),
    row("Record", h("code", null, view.record)),
    row("Ledger proof", view.entries ? [`entries ${count(view.entries.first)} to ${count(view.entries.last)}: `, h("code", null, `homeport ledger prove ${view.entries.last}`)] : "none: the records of this run are not sealed"),
  );
  const places = view.destination_list;
  if (!places.length) return [main];
  return [main, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Destinations" }, h("table", null,
    h("caption", null, view.destinations?.count > places.length ? `First ${places.length} of ${number(view.destinations)} destinations` : plural(places.length, "destination")),
    h("thead", null, h("tr", null, ...["Address", "Port", "Placed in", "By", "Bytes"].map((name, i) => h("th", { scope: "col", class: i === 4 ? "number" : null }, name)))),
    h("tbody", null, ...places.map((place) => h("tr", null,
      h("th", { scope: "row" }, h("code", null, place.ip)), h("td", null, place.port ? String(place.port) : "\u2013"), h("td", null, place.location ?? "\u2013"),
      h("td", null, place.database ? `${place.prefix ?? ""} in ${place.database} of ${place.database_built?.slice(0, 10)}` : `${place.source ?? ""} ${place.prefix ?? ""}`),
      h("td", { class: "number" }, bytes(place.wire_bytes))))),
  ))];
};
