// Starts everything, and keeps it up to date: one stream of events, and two questions now and then.

import { showBalance } from "./balance.js";
import { changeEpisode, showEpisodes, startEpisodes } from "./episodes.js";
import { showEvidence } from "./evidence.js";
import { showHistory, showMapStatus, startMap } from "./map.js";
import { showStrip } from "./strip.js";
import { showFlows, startTalkers } from "./talkers.js";
import { clock, moment } from "./words.js";

const $ = (id) => document.getElementById(id);
const FLOWS_EVERY = 5000;
const SILENT_AFTER = 6000;

let range = "hour";
let heard = 0;
let latest = null;

const get = async (path) => {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  // The token was changed, or the agent was started again.
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
};
const quietly = (promise) => promise.catch(() => {});

const showStatus = (status) => {
  latest = status.time;
  showStrip(status);
  showMapStatus(status);
  showBalance(status);
  showEvidence(status);
};

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

const loadHistory = () => quietly(get(`/api/v1/history?range=${range}`).then(showHistory));
const loadEpisodes = () => quietly(get("/api/v1/episodes").then((view) => showEpisodes(view.episodes)));
const loadFlows = () => (document.hidden ? null : quietly(get("/api/v1/flows").then(showFlows)));
const loadStatus = () => quietly(get("/api/v1/status").then((status) => { showStatus(status); hear(status.time); }));
const loadAll = () => Promise.all([loadStatus(), loadHistory(), loadEpisodes(), loadFlows()]);

let events = null;
const follow = () => {
  events?.close();
  events = new EventSource("/api/v1/events");
  const on = (name, take) => events.addEventListener(name, (event) => take(JSON.parse(event.data)));
  on("status", (status) => { showStatus(status); hear(status.time); });
  on("tick", ({ time }) => hear(time));
  on("episode", (row) => { changeEpisode(row); loadHistory(); });
  on("history", loadHistory);
  on("reset", loadAll);
  // The browser comes back by itself after a broken connection, but not after a refusal.
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  });
};

startMap((chosen) => { range = chosen; loadHistory(); });
startEpisodes();
startTalkers();
// The stream first: what happens while the rest is loaded is not missed.
follow();
await loadAll();
document.documentElement.classList.add("loaded");
performance.mark("loaded");
setInterval(loadFlows, FLOWS_EVERY);
setInterval(listen, 1000);
setInterval(() => { if (!document.hidden) loadHistory(); }, 15000);
// A browser keeps pages that one has left for the way back, with their streams: six of them, and it has no connection left.
addEventListener("pagehide", () => events.close());
addEventListener("pageshow", (event) => { if (event.persisted) { follow(); loadAll(); } });
document.addEventListener("visibilitychange", () => { if (!document.hidden) { loadFlows(); loadHistory(); } });
