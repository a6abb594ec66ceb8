// What stands in each box of the drawing, and in the table: the same words for both.

const SIGNS = { up: "●", busy: "◐", down: "✕" };

export function boxesOf(state) {
  return [client(), edge(state), ...state.proxies.map((each) => proxy(each, state)), ...state.apps.map((each) => app(each, state)),
    ways(state), ...state.nodes.map((each) => node(each, state)), monitor(state), ...backup(state)];
}

function box(key, title, is, says, lines = [], more = {}) {
  return { key, title, is, state: `${SIGNS[is]} ${says}`, lines, pill: "", vip: "", leads: false, ...more };
}

function client() {
  return { ...box("client", "Clients", "up", ""), is: "plain", state: "", lines: ["write", "and read"] };
}

function edge({ edge: it }) {
  if (!it.runs) return box("edge", "Edge", "down", it.condition, ["nginx"]);
  return it.up ? box("edge", "Edge", "up", "answers", ["nginx"]) : box("edge", "Edge", "busy", "silent", ["nginx"]);
}

function proxy(it, state) {
  const says = it.runs ? (it.answers ? "serves" : "silent") : it.condition;
  const is = it.runs ? (it.answers ? "up" : "busy") : "down";
  const vip = it.name === state.vip.holder ? "virtual IP" : "";
  const rest = it.holds ? "holds the virtual IP too" : "in reserve";
  return box(it.name, it.name, is, says, [vip ? "takes requests" : rest], { vip, role: vip || rest });
}

function app(it, state) {
  const pools = Object.entries(it.pools ?? {}).map(([role, pool]) => {
    const waits = pool.waiting ? `, ${pool.waiting} wait` : "";
    return `${role} pool ${pool.size - pool.idle} of ${pool.size}${waits}`;
  });
  const lines = it.runs ? (pools.length ? pools : ["does not say"]) : [];
  if (!it.runs) return box(it.name, it.name, "down", it.condition, lines, { role: "instance" });
  if (!state.vip.holder) return box(it.name, it.name, "up", "runs", lines, { role: "instance" });
  return box(it.name, it.name, it.up ? "up" : "busy", it.up ? "in rotation" : "out of rotation", lines, { role: "instance" });
}

function ways(state) {
  const { writes, reads } = state.routes;
  const holder = state.vip.holder;
  if (!holder) return { ...box("ways", "Virtual IP", "down", "held by nobody"), hidden: true };
  const to = (nodes) => (nodes.length ? nodes.length === 1 ? nodes[0] : `${nodes.length} nodes` : "none");
  const is = writes.length === 1 && reads.length ? "plain" : "busy";
  return { ...box("ways", "Virtual IP", "up", "", []), is, state: `by ${holder}`, lines: [`writes: ${to(writes)}`, `reads: ${to(reads)}`] };
}

function node(it, state) {
  const leads = it.writable && state.primary === it.name;
  const more = { pill: it.role, leads, role: it.role };
  if (!it.runs) return box(it.name, it.name, "down", it.condition, [lastSeen(it)], { ...more, leads: false, pill: "" });
  if (it.state === null) return box(it.name, it.name, "busy", "the monitor is silent", [leads ? "accepts writes" : ""], more);
  const asked = state.primary !== null && !leads; // the primary says how far the others are
  const facts = [`timeline ${it.timeline}`, leads ? "accepts writes" : asked ? behind(it) : ""];
  if (it.assigned) return box(it.name, it.name, "busy", `to ${it.assigned}`, [`from ${it.state}`, ...facts], more);
  if (!it.healthy) return box(it.name, it.name, "busy", "not reached", facts, more);
  return box(it.name, it.name, "up", "healthy", facts, more);
}

function lastSeen(it) {
  return it.state ? `last: ${it.state}` : "";
}

function behind(it) {
  if (it.lag === null || it.lag === undefined) return "not replicating";
  return `${it.in_sync ? "in sync" : "not in sync"}${it.lag ? `, ${size(it.lag)} behind` : ""}`;
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let at = 0;
  for (; bytes >= 1024 && at < 3; at += 1) bytes /= 1024;
  return `${at && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[at]}`;
}

function monitor({ monitor: it }) {
  const is = it.runs ? (it.answers ? "up" : "busy") : "down";
  const says = it.runs ? (it.answers ? "watches nodes" : "silent") : `${it.condition}: no failover`;
  return box("monitor", "Monitor", is, says, [], { role: "decides who leads" });
}

function backup({ backups: it }) {
  if (!it) return [];
  const is = it.runs ? (it.sound ? "up" : "busy") : "down";
  return [box("backup", "Backups", is, it.runs ? it.words : it.condition, [], { role: "repository" })];
}

// One sentence for those who do not see the drawing, and for those who do.
export function inWords(state) {
  if (!state.docker) return "Docker does not answer: nothing is known of the stack.";
  const { writes, reads } = state.routes;
  const list = (names) => names.join(" and ");
  if (!state.vip.holder) return "No proxy holds the virtual IP: requests wait at the edge until one does.";
  const by = `through ${state.vip.holder}`;
  const first = writes.length ? `Writes go ${by} to ${list(writes)}` : `Writes wait: no node takes them yet`;
  return `${first}; reads go to ${reads.length ? list(reads) : "nobody"}.`;
}
