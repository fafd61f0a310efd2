// Where every byte went: the card's own counter against every term that explains it.

import { bytes, count, h, percent, plural, settle } from "./words.js";

const $ = (id) => document.getElementById(id);

// The terms of the identity, in the order and words of RECONCILIATION.md.
const TERMS = [
  ["socket", "local sockets", "IP frames that a local socket sent"],
  ["forwarded", "forwarded", "routed, bridged, of a container or a virtual machine"],
  ["packet", "packet sockets", "frames of AF_PACKET sockets"],
  ["tunnel", "tunnels", "outer frames of tunnels made here"],
  ["time_wait", "closing", "acknowledgements of connections in TIME-WAIT"],
  ["non_ip", "not IP", "ARP, LLDP and the like"],
];
const EXPLAINED = [
  ["buffers_bytes", "buffers", "the card counts a large buffer once"],
  ["framing_bytes", "framing", "checksums, padding or tags that the card counts"],
  ["dropped_bytes", "dropped", "dropped behind the observer, at most"],
];

let said = "";

const bar = (parts, label) => {
  const box = h("div", { class: "stack", role: "img", "aria-label": `${label}: ${parts.map(([, name, value]) => `${name} ${bytes(value)}`).join(", ")}` });
  for (const [kind, , value] of parts) {
    const piece = h("span", { class: kind });
    piece.style.setProperty("flex-grow", String(Math.max(value, 0)));
    box.append(piece);
  }
  return box;
};

const line = (kind, name, about, value, whole) => h("tr", { class: value ? null : "zero" },
  h("th", { scope: "row" }, h("span", { class: `chip ${kind}` }), name, h("span", { class: "minor" }, about)),
  h("td", { class: "number" }, bytes(value)), h("td", { class: "number" }, value ? percent(Math.abs(value), whole) : "\u2013"));

// What makes a known difference, in one line where none does.
const known = (explained, whole) => (explained.every(([, , value]) => value === 0)
  ? [line("buffers", "known differences", "buffers, framing, drops", 0, whole)]
  : explained.map(([kind, name, value, about]) => line(kind, name, about, value, whole)));

const card = (face) => {
  const terms = TERMS.map(([kind, name, about]) => [kind, name, face[kind]?.bytes ?? 0, about]);
  const seen = terms.reduce((sum, [, , value]) => sum + value, 0);
  const balance = face.balance;
  const explained = balance ? EXPLAINED.map(([kind, name, about]) => [kind.replace("_bytes", ""), name, balance[kind], about]) : [];
  const rest = balance?.unexplained_bytes ?? 0;
  const whole = Math.max(face.nic_tx_bytes, seen, 1);
  const parts = [...terms, ...explained].filter(([, , value]) => value > 0);
  if (rest > 0) parts.push(["unexplained", "unexplained", rest]);
  const verdict = !balance ? "not compared yet" : rest === 0 ? "adds up to the byte" : rest > 0 ? `${bytes(rest)} left past every observer` : `${bytes(-rest)} seen and not sent by the card`;
  return h("article", { class: "card" },
    h("h3", null, face.name, h("span", { class: rest ? "verdict off" : "verdict" }, verdict)),
    h("p", null, "The card says it sent ", h("strong", null, bytes(face.nic_tx_bytes)), ` in ${plural(face.nic_tx_packets, "frame")}; seen `, h("strong", null, bytes(seen)), "."),
    bar(parts, `Bytes sent by ${face.name}`),
    h("table", { class: "terms" }, h("caption", { class: "quiet" }, `Terms of ${face.name}`), h("thead", { class: "quiet" }, h("tr", null, ...["Term", "Bytes", "Share"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, ...terms.map(([kind, name, value, about]) => line(kind, name, about, value, whole)),
        ...known(explained, whole),
        line("unexplained", "unexplained", "positive: left past us", rest, whole))),
    balance?.counter_resets ? h("p", { class: "minor" }, `The card's counter began again ${plural(balance.counter_resets, "time")}.`) : "",
  );
};

const owners = ({ socket, owned, unnamed, rest }) => h("article", { class: "card" },
  h("h3", null, "Owners", h("span", { class: rest > 0 || unnamed > 0 ? "verdict off" : "verdict" }, owned >= socket ? "every byte of a local socket has one" : `${percent(owned, socket)} of bytes have one`)),
  h("p", null, "Local sockets sent ", h("strong", null, bytes(socket)), " over the edge, without link headers."),
  bar([["socket", "with owner", owned], ["forwarded", "counted without name", unnamed], ["unexplained", "destination only", Math.max(rest, 0)]].filter(([, , value]) => value > 0), "Bytes of local sockets by owner"),
  h("table", { class: "terms" }, h("caption", { class: "quiet" }, "Bytes of local sockets"), h("thead", { class: "quiet" }, h("tr", null, ...["Part", "Bytes", "Share"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, line("socket", "with owner", "process or kernel service known", owned, socket), line("forwarded", "without name", "counted, nobody could be named", unnamed, socket), line("unexplained", "destination only", "a place, and no owner", rest, socket))));

const losses = (rows) => h("article", { class: "card" },
  h("h3", null, "Losses", h("span", { class: rows.some((row) => row.events) ? "verdict off" : "verdict" }, rows.some((row) => row.events) ? "something was lost" : "nothing was lost")),
  h("p", null, "Counted in the kernel since the start."),
  h("table", { class: "terms" }, h("caption", { class: "quiet" }, "Losses by cause"), h("thead", { class: "quiet" }, h("tr", null, ...["Cause", "Events", "Bytes"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, ...rows.map((row) => h("tr", { class: row.events ? null : "zero" }, h("th", { scope: "row" }, row.cause.replaceAll("-", " ")), h("td", { class: "number" }, count(row.events)), h("td", { class: "number" }, row.bytes ? bytes(row.bytes) : "\u2013"))))));

export const showBalance = (status) => {
  const now = JSON.stringify([status.interfaces, status.attribution, status.losses]);
  if (now === said) return;
  said = now;
  settle($("balance"), [...status.interfaces.map(card), h("div", { class: "stacked" }, owners(status.attribution), losses(status.losses))]);
};
