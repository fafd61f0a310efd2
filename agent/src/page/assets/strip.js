// The two answers, and the facts they rest on.

import { bytes, count, countryName, duration, h, moment, plural, settle, sign, text, timeElement } from "./words.js";

const $ = (id) => document.getElementById(id);

const set = (element, kind, words) => {
  if (element.dataset.said === `${kind}${words}`) return;
  element.dataset.said = `${kind}${words}`;
  element.replaceChildren(sign(kind), h("span", null, words));
};

const since = (status) => {
  const day = 86400000;
  const now = Date.parse(status.time);
  if (!status.records_since || now - status.records_since < day) return `since ${moment(status.records_since ?? status.started)}, when this page's records begin`;
  return "in the last 24 hours";
};

export const inForce = (status) => status.policies.filter((policy) => policy.in_force);

const answer = (status) => {
  const { standing, state } = status;
  const main = status.policies.at(-1);
  const place = main?.lists === "deny" ? "for a denied country" : "the approved countries";
  if (standing.open_violations > 0) {
    return ["bad", "Yes. Data is leaving against policy.",
      `${plural(standing.open_violations, "violation")} open now, ${count(standing.violations)} ${since(status)}, ${bytes(standing.violating_bytes)} in all.`];
  }
  if (standing.violations > 0) {
    return ["bad", "Yes. Data left against policy.",
      `${plural(standing.violations, "violation")} ${since(status)}, ${bytes(standing.violating_bytes)} in all. None is open now.`];
  }
  const beside = [];
  if (standing.exceptions_in_use) beside.push(`${plural(standing.exceptions_in_use, "approved exception")} in use`);
  if (standing.open_attempts) beside.push(`${plural(standing.open_attempts, "attempt")} without data`);
  const more = beside.length ? ` ${beside.join(", ")}.` : "";
  if (state === "degraded") return ["unsure", `Nothing was seen to leave ${place}.`, `Not everything could be seen ${since(status)}.${more}`];
  return ["good", main?.lists === "deny" ? "No. Nothing has left for a denied country." : "No. Nothing has left the approved countries.",
    `No violation ${since(status)}.${more}`];
};

const TRUST = {
  covered: ["good", "Yes. Every byte is counted."],
  reduced: ["unsure", "Yes, with limits."],
  "not covered": ["bad", "No. Bytes may leave uncounted."],
};

const fact = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, ...value));

const lists = (policy) => {
  const codes = policy.lists === "deny" ? policy.denied : policy.approved;
  const words = codes.length > 6 ? plural(codes.length, "country", "countries") : codes.map(countryName).join(", ") || "no country";
  return policy.lists === "deny" ? `denies ${words}` : `approves ${words}`;
};

export const showStrip = (status) => {
  const [kind, headline, subline] = answer(status);
  document.documentElement.dataset.state = status.state;
  document.title = `${{ good: "In policy", bad: "Violation", unsure: "Degraded" }[kind]}: ${status.host}, homeport`;
  $("policy-answer").dataset.kind = kind;
  text(document.querySelector("#policy-answer .question"), status.policies.at(-1)?.lists === "deny" ? "Has anything left for a denied country?" : "Has anything left the approved countries?");
  set($("headline"), kind, headline);
  text($("subline"), subline);
  const [trustKind, trustWords] = TRUST[status.trust] ?? TRUST["not covered"];
  $("trust-answer").dataset.kind = trustKind;
  set($("trust"), trustKind, trustWords);
  const reasons = status.coverage?.reasons ?? [];
  const lost = status.losses.reduce((sum, loss) => sum + loss.events, 0);
  const lines = reasons.length
    ? reasons.map(({ part, reason }) => `${part}: ${reason}`)
    : [`${plural(status.interfaces.length, "interface")} compared with the card's own counter, ${lost ? plural(lost, "event") + " lost" : "nothing lost"}${status.coverage?.self_test?.passed ? `, self-test passed ${moment(status.coverage.self_test.time)}` : ""}.`];
  const box = $("reasons");
  const said = JSON.stringify(lines);
  if (box.dataset.said !== said) {
    box.dataset.said = said;
    const [first, second, ...rest] = lines;
    box.replaceChildren(...[first, second].filter(Boolean).map((line) => h("p", null, line)),
      rest.length ? h("details", null, h("summary", null, `${rest.length} more`), ...rest.map((line) => h("p", null, line))) : "");
  }
  text($("host"), status.host);

  const policies = inForce(status);
  const main = policies.at(-1);
  const checkpoint = status.checkpoint;
  settle($("facts"), [
    fact("Policy", h("strong", null, main?.name ?? "none"), main?.preset ? ` (${main.preset})` : "", h("span", { class: "minor" }, main ? lists(main) : "", policies.length > 1 ? `, and ${plural(policies.length - 1, "policy", "policies")} for some senders` : "")),
    fact("Policy hash", h("code", { title: status.policy_hash }, status.policy_hash.slice(0, 12))),
    fact("Mode", status.mode === "alert" ? "Observe and alert" : status.mode, h("span", { class: "minor" }, "nothing is blocked")),
    fact("Sent since start", bytes(status.totals.wire_bytes), h("span", { class: "minor" }, `${duration(Date.parse(status.time) - Date.parse(status.started))}, ${plural(status.totals.packets, "packet")}`)),
    fact("Last signed checkpoint", checkpoint ? timeElement(checkpoint.time) : "none", h("span", { class: "minor" }, checkpoint ? `${plural(checkpoint.size, "entry", "entries")} sealed${checkpoint.unsigned ? `, ${count(checkpoint.unsigned)} not yet` : ""}` : "records of this run are not sealed"),
      checkpoint?.fault ? h("span", { class: "minor" }, checkpoint.fault) : ""),
    status.records_missed ? fact("Records this page missed", count(status.records_missed)) : "",
  ]);
};
