// Who sends most: owner, country, bytes. Sorted and searched here, without asking again.

import { bytes, count, countryName, h, plural, sync, text } from "./words.js";

const $ = (id) => document.getElementById(id);
const ROWS = 20;
// Laying out a table of 500 rows takes a slow machine long enough to be felt; this many at a time do not.
const MORE = 100;
const COLUMNS = [
  ["owner", "Owner"], ["place", "Destination"], ["verdict", "Verdict"], ["bytes", "Bytes"], ["rate", "Per second"], ["flows", "Flows"],
];
const isNumber = new Set(["bytes", "rate", "flows"]);

let rows = [];
let before = new Map();
let sort = ["bytes", -1];
let shown = ROWS;
let total = 0;
let body = null;

const group = (view) => {
  const groups = new Map();
  for (const flow of view.flows) {
    const place = flow.country ? countryName(flow.country) : flow.location;
    const id = `${flow.owner.label}\n${place}\n${flow.verdict}`;
    const row = groups.get(id) ?? { id, owner: flow.owner.label, exe: flow.owner.exe, user: flow.owner.user, place, code: flow.country ?? "", verdict: flow.verdict, rule: flow.rule, bytes: 0, rate: 0, flows: 0, find: "" };
    row.bytes += flow.wire_bytes;
    row.flows += 1;
    row.find += ` ${flow.remote}`;
    groups.set(id, row);
  }
  const now = Date.parse(view.time);
  const seen = new Map();
  for (const row of groups.values()) {
    row.find = `${row.owner} ${row.exe ?? ""} ${row.user ?? ""} ${row.place} ${row.code} ${row.verdict} ${row.rule ?? ""}${row.find}`.toLowerCase();
    const old = before.get(row.id);
    // Flows that have ended leave the table, so a sum can shrink.
    if (old && now > old.time) row.rate = Math.max(0, (row.bytes - old.bytes) / ((now - old.time) / 1000));
    seen.set(row.id, { bytes: row.bytes, time: now });
  }
  before = seen;
  return [...groups.values()];
};

export const startTalkers = () => {
  $("talker-search").addEventListener("input", draw);
  body = h("tbody");
  $("talker-table").append(h("table", null, h("caption", { id: "talker-caption" }, ""),
    h("thead", null, h("tr", null, ...COLUMNS.map(([name, label]) => h("th", { scope: "col", "data-name": name, class: isNumber.has(name) ? "number" : null },
      h("button", { type: "button", onclick: () => { sort = [name, sort[0] === name ? -sort[1] : isNumber.has(name) ? -1 : 1]; draw(); } }, label))))), body));
  $("talker-table").after(h("button", { type: "button", class: "more", id: "talker-more", onclick: () => { shown += MORE; draw(); } }));
  draw();
};

export const showFlows = (view) => {
  rows = group(view);
  total = view.rows;
  draw();
};

const draw = () => {
  const words = $("talker-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => words.every((word) => row.find.includes(word)));
  const [name, direction] = sort;
  found.sort((a, b) => direction * (isNumber.has(name) ? a[name] - b[name] : a[name].localeCompare(b[name])) || b.bytes - a.bytes || a.id.localeCompare(b.id));
  for (const head of document.querySelectorAll("#talker-table th[data-name]")) {
    if (head.dataset.name === name) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
  const largest = Math.max(1, ...found.map((row) => row.bytes));
  sync(body, found.slice(0, shown), (row) => row.id, make, (element, row) => update(element, row, largest));
  const flows = found.reduce((sum, row) => sum + row.flows, 0);
  text($("talker-caption"), rows.length ? `${plural(found.length, "pair")} of owner and destination, from ${flows < total ? `the ${count(flows)} largest of ${count(total)} flows` : plural(flows, "flow")}` : "No flow yet");
  $("talker-more").hidden = found.length <= shown;
  text($("talker-more"), found.length <= shown + MORE ? `Show all ${count(found.length)}` : `Show ${MORE} more of ${count(found.length)}`);
};

const make = () => h("tr", null, h("th", { scope: "row" }), h("td"), h("td"), h("td", { class: "number" }, h("span", { class: "meter" }, h("span")), h("span")), h("td", { class: "number" }), h("td", { class: "number" }));

const VERDICT = { approved: "approved", excepted: "exception", violation: "against policy" };

const update = (element, row, largest) => {
  const [owner, place, verdict, size, rate, flows] = element.children;
  element.className = row.verdict;
  text(owner, row.owner);
  if (row.exe) owner.setAttribute("title", row.exe);
  text(place, row.place);
  text(verdict, VERDICT[row.verdict] ?? row.verdict);
  text(size.lastElementChild, bytes(row.bytes));
  size.firstElementChild.firstElementChild.style.setProperty("width", `${Math.max(1, row.bytes / largest * 100)}%`);
  text(rate, row.rate ? bytes(row.rate) : "\u2013");
  text(flows, count(row.flows));
};
