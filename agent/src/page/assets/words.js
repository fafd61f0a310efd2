// How things are said: numbers, times, places. How the agent is asked. And the functions that make elements.

// Made when the first country is named, because it takes a while.
let names = null;

export const countryName = (code) => {
  names ??= new Intl.DisplayNames(["en"], { type: "region" });
  try { return names.of(code) ?? code; } catch { return code; }
};

export const get = async (path) => {
  const answer = await fetch(path);
  // The token was changed, or the agent was started again.
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
};

// What cannot be had now is asked for again later.
export const quietly = (promise) => promise.catch(() => {});

const KINDS = {
  unknown: "Unknown location", private: "Private addresses", local: "Local", disputed: "Disputed location",
  anycast: "Anycast", several: "Several places",
};

// A place as records name it, in words.
export const placeName = (place) => {
  if (place.kind === "site") return `${place.site}, ${countryName(place.country)}`;
  if (place.kind === "interface") return place.site ?? "interface";
  if (place.country) return countryName(place.country);
  return KINDS[place.kind] ?? place.kind;
};

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

// Three digits that count, as the records have it: 1.52 kB, 23.4 MB, 512 B.
export const bytes = (value) => {
  const sign = value < 0 ? "\u2212" : "";
  let rest = Math.abs(value);
  let unit = 0;
  while (rest >= 999.5 && unit < UNITS.length - 1) { rest /= 1000; unit += 1; }
  const digits = unit === 0 ? 0 : rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0;
  return `${sign}${rest.toFixed(digits)}\u00a0${UNITS[unit]}`;
};

export const count = (value) => Number(value).toLocaleString("en-US");
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const percent = (part, whole) => {
  if (!whole) return "0 %";
  const share = (100 * part) / whole;
  return `${share > 0 && share < 0.1 ? "<0.1" : share >= 99.95 && part < whole ? ">99.9" : share.toFixed(share < 10 ? 1 : 0)}\u00a0%`;
};

const two = (n) => String(n).padStart(2, "0");
export const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
const day = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;

// A moment: the hour if it is today, the date as well if not.
export const moment = (time) => {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return String(time);
  return day(date) === day(new Date()) ? clock(date) : `${day(date)} ${clock(date).slice(0, 5)}`;
};

export const duration = (ms) => {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 600) return `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  return plural(Math.floor(s / 86400), "day");
};

export const timeElement = (time) => h("time", { datetime: new Date(time).toISOString(), title: new Date(time).toISOString() }, moment(time));

const SVG = "http://www.w3.org/2000/svg";
const isSvg = new Set(["svg", "path", "rect", "circle", "line", "text", "g", "title"]);

// An element: h("p", { class: "x", onclick: f }, "text", child). Text is only ever text.
export const h = (tag, properties, ...children) => {
  const element = isSvg.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

// Makes the children of an element those of `items`, in order: elements stay for the same key, so that focus, hover and
// reading position survive updates.
export const sync = (parent, items, key, make, update) => {
  const known = parent.known ??= new Map();
  const wanted = new Map();
  let before = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    const element = known.get(id) ?? make(item);
    update?.(element, item);
    wanted.set(id, element);
    if (element === before) before = before.nextElementSibling;
    else parent.insertBefore(element, before);
  }
  for (const [id, element] of known) if (!wanted.has(id)) element.remove();
  parent.known = wanted;
};

const CONTAINERS = new Set(["ARTICLE", "DIV", "DL", "TABLE", "THEAD", "TBODY", "TR"]);

// Makes the children of an element look like `parts`, and leaves those that already do: what somebody has selected,
// focused or scrolled to stays so while numbers beside it change.
export const settle = (box, parts) => {
  const made = parts.filter((part) => part instanceof Node);
  if (box.children.length !== made.length) { box.replaceChildren(...made); return; }
  made.forEach((part, i) => {
    const there = box.children[i];
    if (there.isEqualNode(part)) return;
    if (CONTAINERS.has(there.tagName) && there.cloneNode().isEqualNode(part.cloneNode())) settle(there, [...part.children]);
    else there.replaceWith(part);
  });
};

export const text = (element, value) => { if (element.textContent !== value) element.textContent = value; };

// One of several: a group of buttons, exactly one pressed.
export const choice = (group, options, chosen, choose) => {
  group.replaceChildren(...options.map(([value, label]) => h("button", {
    type: "button", "data-value": value, "aria-pressed": String(value === chosen),
    onclick: () => {
      for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === value));
      choose(value);
    },
  }, label)));
};

const SHAPES = {
  good: "M4 10.5l4 4 8-9", bad: "M10 3.5v8.5M10 15.6v.4", unsure: "M6 10h8",
};
const OUTLINES = { good: "M10 .9a9.1 9.1 0 100 18.2A9.1 9.1 0 0010 .9z", bad: "M6.2.9h7.6l5.3 5.3v7.6l-5.3 5.3H6.2L.9 13.8V6.2z", unsure: "M10 .6L19.4 10 10 19.4.6 10z" };

// A sign with a form of its own for each meaning: colour is never the only difference.
export const sign = (kind) => h("svg", { class: `sign ${kind}`, viewBox: "0 0 20 20", "aria-hidden": "true" },
  h("path", { class: "outline", d: OUTLINES[kind] }), h("path", { class: "stroke", d: SHAPES[kind] }));
