// Starts everything, and keeps it up to date. First the two answers, with nothing but what they need; when they are on
// the screen, what they rest on: the map, episodes, talkers, bytes, evidence.

import { showStrip } from "./strip.js";
import { clock, get, moment, quietly } from "./words.js";

const $ = (id) => document.getElementById(id);
const SILENT_AFTER = 6000;
const PAINT_AT_MOST = 500;

let heard = 0;
let latest = null;
let newest = null;
let rest = null;

// Done when what was shown is on the screen; where nobody looks nothing is painted, and nothing is waited for.
const painted = () => new Promise((done) => {
  if (document.hidden) done();
  requestAnimationFrame(() => setTimeout(done));
  setTimeout(done, PAINT_AT_MOST);
});

const hear = (time) => {
  heard = Date.now();
  latest = time ?? latest;
  $("silence").hidden = true;
  document.documentElement.classList.add("heard");
  $("live").textContent = `Live, ${clock(new Date(latest))}`;
};

const listen = () => {
  if (heard && Date.now() - heard > SILENT_AFTER) {
    document.documentElement.classList.remove("heard");
    $("live").textContent = "Not live";
    $("silence").hidden = false;
    $("silence").textContent = `The agent does not answer. What is shown is from ${moment(latest)}; nothing is known since.`;
  }
};

const showStatus = (status) => {
  newest = status;
  hear(status.time);
  showStrip(status);
  rest?.showStatus(status);
};

const loadStatus = () => quietly(get("/api/v1/status").then(showStatus));

let events = null;
const follow = () => {
  events?.close();
  events = new EventSource("/api/v1/events");
  const on = (name, take) => events.addEventListener(name, (event) => take(JSON.parse(event.data)));
  on("status", showStatus);
  on("tick", ({ time }) => hear(time));
  on("episode", (row) => rest?.changeEpisode(row));
  on("history", () => rest?.loadHistory());
  on("reset", () => { loadStatus(); rest?.load(); });
  // The browser comes back by itself after a broken connection, but not after a refusal.
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  });
};

const first = loadStatus();
// Before the rest is asked for: what happens meanwhile is not missed.
follow();
// A browser keeps pages that one has left for the way back, with their streams: six of them, and it has no connection left.
addEventListener("pagehide", () => events.close());
addEventListener("pageshow", (event) => { if (event.persisted) { follow(); loadStatus(); rest?.load(); } });
await first;
await painted();
performance.mark("answered");
setInterval(listen, 1000);

const module = await import("./rest.js");
const loading = module.start();
rest = module;
if (newest) rest.showStatus(newest);
await loading;
document.documentElement.classList.add("loaded");
performance.mark("loaded");
