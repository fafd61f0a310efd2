// Everything below the two answers, which are there already: what they rest on.

import { showBalance } from "./balance.js";
import { changeEpisode, showEpisodes, startEpisodes } from "./episodes.js";
import { showEvidence } from "./evidence.js";
import { showHistory, showMapStatus, startMap } from "./map.js";
import { showFlows, startTalkers } from "./talkers.js";
import { get, quietly } from "./words.js";

const FLOWS_EVERY = 5000;
const HISTORY_EVERY = 15000;
// A burst of episodes is one question.
const BURST = 500;

let range = "hour";
let asked = null;

export const showStatus = (status) => {
  showMapStatus(status);
  showBalance(status);
  showEvidence(status);
};

export const loadHistory = () => quietly(get(`/api/v1/history?range=${range}`).then(showHistory));
const loadEpisodes = () => quietly(get("/api/v1/episodes").then((view) => showEpisodes(view.episodes)));
const loadFlows = () => (document.hidden ? null : quietly(get("/api/v1/flows").then(showFlows)));
export const load = () => Promise.all([loadHistory(), loadEpisodes(), loadFlows()]);

const change = (row) => {
  changeEpisode(row);
  asked ??= setTimeout(() => { asked = null; loadHistory(); }, BURST);
};
export { change as changeEpisode };

// Done when all of it is there.
export const start = async () => {
  const map = quietly(startMap((chosen) => { range = chosen; loadHistory(); }));
  startEpisodes();
  startTalkers();
  await Promise.all([load(), map]);
  setInterval(loadFlows, FLOWS_EVERY);
  setInterval(() => { if (!document.hidden) loadHistory(); }, HISTORY_EVERY);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { loadFlows(); loadHistory(); } });
};
