// The world: shaded by bytes on a logarithmic scale; what is against policy is hatched as well as coloured.

import { bytes, choice, countryName, h, placeName } from "./words.js";

const $ = (id) => document.getElementById(id);
const STEPS = 6;
const NS = "http://www.w3.org/2000/svg";
let history = null;
let status = null;
let order = [];
let current = null;

const data = (sums) => sums.approved + sums.excepted + sums.violation;

// Step 1 to 6 on a logarithmic scale from a kilobyte to the largest place.
const step = (value, largest) => {
  const low = Math.log10(1000);
  const high = Math.max(Math.log10(Math.max(largest, 1)), low + 1);
  const share = (Math.log10(Math.max(value, 1)) - low) / (high - low);
  return Math.min(STEPS, Math.max(1, 1 + Math.floor(share * (STEPS - 0.001))));
};

const byCountry = () => {
  const sums = new Map();
  for (const place of history?.places ?? []) {
    if (!place.country) continue;
    const sum = sums.get(place.country) ?? { code: place.country, approved: 0, excepted: 0, violation: 0, control: 0, sites: [] };
    for (const name of ["approved", "excepted", "violation", "control"]) sum[name] += place[name];
    if (place.site) sum.sites.push(place.site);
    sums.set(place.country, sum);
  }
  return sums;
};

const words = (sum, standing) => {
  const parts = [];
  if (sum.violation) parts.push(`${bytes(sum.violation)} against policy`);
  if (sum.approved) parts.push(`${bytes(sum.approved)} approved`);
  if (sum.excepted) parts.push(`${bytes(sum.excepted)} under an exception`);
  if (!parts.length && sum.control) parts.push(`${bytes(sum.control)} without data`);
  if (!parts.length) parts.push("nothing sent");
  return `${countryName(sum.code)}: ${parts.join(", ")}${standing ? ` (${standing})` : ""}`;
};

const standing = (code) => {
  const policy = status?.policies.filter((policy) => policy.in_force).at(-1);
  if (!policy) return "";
  if (policy.denied.includes(code)) return "denied";
  if (policy.approved.includes(code)) return "approved";
  return policy.lists === "deny" ? "not denied" : "not approved";
};

const both = (code) => [$(`m-${code}`), $(`d-${code}`)].filter(Boolean);

const draw = () => {
  const sums = byCountry();
  const map = $("map");
  if (map) shade(map, sums);
  table();
  elsewhere();
};

const shade = (map, sums) => {
  const largest = Math.max(0, ...[...sums.values()].map(data));
  const policy = status?.policies.filter((policy) => policy.in_force).at(-1);
  const marks = $("marks");
  const drawn = [];
  for (const shape of map.querySelectorAll(".country, .dot")) {
    const code = shape.dataset.for ?? shape.id.slice(2);
    const sum = sums.get(code);
    const classes = [shape.tagName === "circle" ? "dot" : "country"];
    if (policy?.denied.includes(code)) classes.push("denied");
    else if (policy?.approved.includes(code)) classes.push("listed");
    if (sum && data(sum) > 0) {
      classes.push(sum.violation ? "against" : "sent", `s${step(data(sum), largest)}`);
      if (shape.tagName === "circle") classes.push("busy");
      if (sum.violation || classes.includes("denied")) drawn.push(shape);
    } else if (classes.includes("denied")) drawn.push(shape);
    const name = classes.join(" ");
    if (shape.getAttribute("class") !== name) shape.setAttribute("class", name);
  }
  marks.replaceChildren(...drawn.map((shape) => {
    const copy = shape.cloneNode();
    for (const name of ["id", "tabindex", "role", "aria-label"]) copy.removeAttribute(name);
    copy.setAttribute("class", shape.classList.contains("against") ? "hatch strong" : "hatch");
    return copy;
  }), ...siteMarks());

  const before = order.join();
  order = [...sums.values()].sort((a, b) => (b.violation > 0) - (a.violation > 0) || data(b) - data(a)).map((sum) => sum.code).filter((code) => $(`m-${code}`));
  if (before !== order.join()) {
    for (const shape of map.querySelectorAll("[tabindex]")) for (const name of ["tabindex", "role", "aria-label"]) shape.removeAttribute(name);
    if (!order.includes(current)) current = order[0] ?? null;
  }
  for (const code of order) {
    const shape = $(`m-${code}`);
    shape.setAttribute("tabindex", code === current ? "0" : "-1");
    shape.setAttribute("role", "img");
    shape.setAttribute("aria-label", words(sums.get(code), standing(code)));
  }
  legend(largest, policy);
};

const siteMarks = () => (status?.sites ?? []).flatMap((site) => {
  const shape = $(`m-${site.country}`);
  if (!shape) return [];
  const x = Number(shape.dataset.x);
  const y = Number(shape.dataset.y);
  const mark = document.createElementNS(NS, "path");
  mark.setAttribute("class", "site");
  mark.setAttribute("d", `M${x} ${y - 55}l48 48-48 48-48-48z`);
  const title = document.createElementNS(NS, "title");
  title.textContent = `Site ${site.name}, ${countryName(site.country)}`;
  mark.append(title);
  return [mark];
});

const legend = (largest, policy) => {
  const low = 1000;
  const swatch = (kind, n) => h("span", { class: `swatch ${kind} s${n}` });
  const ramp = (kind) => h("span", { class: "ramp", "aria-hidden": "true" }, ...Array.from({ length: STEPS }, (_, i) => swatch(kind, i + 1)));
  const said = JSON.stringify([largest, policy?.name, status?.sites?.length]);
  const box = $("legend");
  if (box.dataset.said === said) return;
  box.dataset.said = said;
  box.replaceChildren(
    h("span", { class: "key" }, ramp("sent"), "sent within policy"),
    h("span", { class: "key" }, ramp("against"), "sent against policy"),
    h("span", { class: "minor" }, `logarithmic, ${bytes(low)} to ${bytes(Math.max(largest, 10 * low))}`),
    policy?.approved.length ? h("span", { class: "key" }, h("span", { class: "swatch listed" }), "approved") : "",
    policy?.denied.length ? h("span", { class: "key" }, h("span", { class: "swatch denied" }), "denied") : "",
    status?.sites?.length ? h("span", { class: "key" }, h("span", { class: "diamond" }), "own site") : "",
    policy && status.policies.length > 1 ? h("span", { class: "minor" }, `lists of policy ${policy.name}`) : "",
  );
};

const table = () => {
  if ($("places-view").hidden) return;
  const rows = (history?.places ?? []).filter((place) => data(place) + place.control > 0).sort((a, b) => data(b) - data(a));
  const cell = (value) => h("td", { class: "number" }, value ? bytes(value) : "\u2013");
  $("places-view").replaceChildren(h("table", null,
    h("caption", null, `Bytes per place, ${RANGES[history?.range ?? "hour"]}`),
    h("thead", null, h("tr", null, ...["Place", "Standing", "Approved", "Exception", "Against policy", "Without data"].map((name, i) => h("th", { scope: "col", class: i > 1 ? "number" : null }, name)))),
    h("tbody", null, ...rows.map((place) => h("tr", { class: place.violation ? "against" : null },
      h("th", { scope: "row" }, placeName(place)), h("td", null, place.country ? standing(place.country) : "\u2013"),
      cell(place.approved), cell(place.excepted), cell(place.violation), cell(place.control)))),
  ));
};

// What no map can show.
const elsewhere = () => {
  const rows = (history?.places ?? []).filter((place) => !place.country && place.kind !== "local" && data(place) > 0);
  $("elsewhere").replaceChildren(...rows.map((place) => h("li", { class: place.violation ? "against" : null },
    h("strong", null, placeName(place)), ` ${bytes(data(place))}${place.violation ? ` (${bytes(place.violation)} against policy)` : ""}`)));
  $("elsewhere").hidden = rows.length === 0;
};

export const RANGES = { hour: "the last hour", day: "the last 24 hours", week: "the last 7 days" };

const showTip = (code, event) => {
  const sum = byCountry().get(code) ?? { code, approved: 0, excepted: 0, violation: 0, control: 0, sites: [] };
  const tip = $("tip");
  const [name, rest] = words(sum, standing(code)).split(": ");
  tip.replaceChildren(h("strong", null, name), h("span", null, rest));
  tip.hidden = false;
  const box = tip.parentElement.getBoundingClientRect();
  const shape = $(`m-${code}`).getBoundingClientRect();
  const x = (event?.clientX ?? shape.left + shape.width / 2) - box.left;
  const y = (event?.clientY ?? shape.top) - box.top;
  tip.style.setProperty("left", `${Math.max(4, Math.min(x + 14, box.width - tip.offsetWidth - 4))}px`);
  tip.style.setProperty("top", `${Math.max(0, y - tip.offsetHeight - 10)}px`);
};

const codeOf = (element) => (element.classList?.contains("country") || element.classList?.contains("dot") || element.classList?.contains("hatch")
  ? element.dataset.for ?? (element.id ? element.id.slice(2) : null) : null);

// The map is most of the page's bytes and no part of the answer: it comes after that.
const bringMap = async () => {
  const answer = await fetch("/assets/world.svg");
  if (!answer.ok) return;
  const map = document.adoptNode(new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement);
  watch(map);
  $("map-box").prepend(map);
  draw();
  performance.mark("mapped");
};

// Done when the map is there.
export const startMap = (chooseRange) => {
  choice($("range"), [["hour", "Hour"], ["day", "Day"], ["week", "Week"]], "hour", chooseRange);
  choice($("shape"), [["map", "Map"], ["table", "Table"]], "map", (shape) => {
    $("map-view").hidden = shape === "table";
    $("places-view").hidden = shape === "map";
    draw();
  });
  return bringMap();
};

const watch = (map) => {
  map.addEventListener("pointermove", (event) => {
    const code = codeOf(event.target);
    if (code) showTip(code, event); else $("tip").hidden = true;
  });
  map.addEventListener("pointerleave", () => { $("tip").hidden = true; });
  map.addEventListener("focusin", (event) => { const code = codeOf(event.target); if (code) showTip(code); });
  map.addEventListener("focusout", () => { $("tip").hidden = true; });
  map.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") { $("tip").hidden = true; return; }
    if (!(event.key in moves) || !order.length) return;
    event.preventDefault();
    const at = Math.min(order.length - 1, Math.max(0, order.indexOf(current) + moves[event.key]));
    $(`m-${current}`)?.setAttribute("tabindex", "-1");
    current = order[at];
    for (const shape of both(current).slice(0, 1)) { shape.setAttribute("tabindex", "0"); shape.focus(); }
  });
};

let drawnFor = "";
export const showHistory = (view) => { history = view; draw(); };
export const showMapStatus = (view) => {
  status = view;
  const key = JSON.stringify([view.policies, view.sites]);
  if (key !== drawnFor) { drawnFor = key; draw(); }
};
