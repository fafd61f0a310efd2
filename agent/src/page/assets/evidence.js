// What the answer rests on: receivers, databases, programs, exceptions.

import { bytes, count, duration, h, moment, plural, settle } from "./words.js";

const $ = (id) => document.getElementById(id);
let said = "";

const table = (caption, heads, rows) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, h("table", null, h("caption", { class: "quiet" }, caption),
  h("thead", null, h("tr", null, ...heads.map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, ...rows)));
const part = (title, ...content) => h("article", { class: "card" }, h("h3", null, title), ...content);

const sinks = (rows) => part("Receivers", rows.length ? table("Receivers", ["Receiver", "State", "Behind"], rows.map((row) => h("tr", { class: row.state === "ok" ? null : "off" },
  h("th", { scope: "row" }, row.name, h("span", { class: "minor" }, row.kind)),
  h("td", null, row.state, row.last_error ? h("span", { class: "minor" }, row.last_error) : ""),
  h("td", null, row.lag_entries ? `${plural(row.lag_entries, "record")}${row.lag_seconds ? `, ${duration(row.lag_seconds * 1000)}` : ""}` : "nothing",
    row.refused ? h("span", { class: "minor" }, `${plural(row.refused, "record")} refused, kept on this host`) : "",
    row.skipped ? h("span", { class: "minor" }, `${plural(row.skipped, "record")} removed before delivery`) : "")))) : h("p", { class: "none" }, "None."));

const databases = (coverage) => part("Databases", table("Databases", ["Database", "Built", "Age"], (coverage?.databases ?? []).map((row) => h("tr", null,
  h("th", { scope: "row" }, row.name, h("span", { class: "minor" }, row.kind, " ", h("code", { title: row.sha256 }, row.sha256.slice(0, 12)))),
  h("td", null, row.built.slice(0, 10)), h("td", null, plural(row.age_days, "day"))))));

const programs = (coverage) => part("Programs in the kernel", table("Programs in the kernel", ["Program", "State", "Where"], (coverage?.programs ?? []).map((row) => h("tr", { class: row.state === "gone" || row.state === "refused" ? "off" : null },
  h("th", { scope: "row" }, h("code", null, row.program), h("span", { class: "minor" }, row.purpose)),
  h("td", null, row.state, row.reason ? h("span", { class: "minor" }, row.reason) : ""), h("td", null, row.place ?? "\u2013")))));

const left = (row) => {
  const days = Math.ceil((Date.parse(row.expires) - Date.now()) / 86400000);
  return days > 0 && days < 3650 ? h("span", { class: "minor" }, `in ${plural(days, "day")}`) : "";
};

const exceptions = (rows) => (rows.length ? part("Exceptions", table("Exceptions", ["Exception", "Used", "Ends"], rows.map((row) => h("tr", { class: ["exceeded", "expired", "near-limit"].includes(row.state) ? "off" : null },
  h("th", { scope: "row" }, row.id, h("span", { class: "minor" }, `${row.reason}; approved by ${row.approver}${row.ticket ? `, ${row.ticket}` : ""}`)),
  h("td", null, bytes(row.used_bytes), row.max_bytes ? ` of ${bytes(row.max_bytes)}` : "", row.state === "active" ? "" : h("span", { class: "minor" }, row.state)),
  h("td", null, row.expires.slice(0, 10), left(row)))))) : "");

const host = (status) => {
  const { coverage } = status;
  if (!coverage) return "";
  const row = (name, ...value) => h("div", null, h("dt", null, name), h("dd", null, ...value));
  return part("This host", h("dl", { class: "plain" },
    row("Agent", `homeport ${status.version}, since ${moment(status.started)}`),
    row("Self-test", coverage.self_test ? `${coverage.self_test.passed ? "passed" : `failed: ${coverage.self_test.reason ?? coverage.self_test.failed}`}, ${moment(coverage.self_test.time)}` : "not yet"),
    row("Clock", coverage.clock.synchronized === null ? "not known" : coverage.clock.synchronized ? "synchronized" : "not synchronized", coverage.clock.steps ? `, ${plural(coverage.clock.steps, "step")}` : ""),
    row("Network namespaces", `${coverage.network_namespaces.watched === "all" ? "all" : "its own"}, ${count(coverage.network_namespaces.seen)} on this host`),
    row("Restarts", coverage.pinned ? "counting goes on while the agent is away" : "counting ends with the agent"),
    ...coverage.fill.map((fill) => row(`Room for ${fill.what}`, `${count(fill.used)} of ${count(fill.capacity)} in use`)),
    ...coverage.interfaces.filter((face) => !face.edge).slice(0, 8).map((face) => row(`Interface ${face.name}`, `not an edge: ${face.why}`)),
  ));
};

export const showEvidence = (status) => {
  const { coverage } = status;
  const now = JSON.stringify([status.sinks, status.exceptions, coverage && { ...coverage, time: 0, losses: 0, interfaces: coverage.interfaces.map((face) => [face.name, face.edge]), clock: [coverage.clock.synchronized, coverage.clock.steps] }]);
  if (now === said) return;
  said = now;
  settle($("evidence-parts"), [sinks(status.sinks), databases(coverage), exceptions(status.exceptions), host(status), programs(coverage)]);
  $("attribution").textContent = status.attributions.join(" \u00b7 ");
};
