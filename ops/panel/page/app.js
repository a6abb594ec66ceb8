// The page: hears the console's stream, and shows what it says.

import { boxesOf, inWords } from "./boxes.js";
import { Chart } from "./chart.js";
import { $, clock, make, say } from "./dom.js";
import { Drawing } from "./drawing.js";
import { Drills } from "./drills.js";
import { post, takeKey } from "./key.js";
import { Stream } from "./stream.js";

const KEPT = 9100; // steps of 100 ms: 15 minutes and a little
const SIGNS = { fault: "✕", down: "✕", undone: "↺", up: "↑", promotion: "★", address: "⇄", load: "≈", monitor: "·", note: "·" };
const MARKED = new Set(["fault", "undone", "promotion", "address", "down"]);
const EVENTS = 120; // lines shown
const LATELY = 0.6; // seconds in which something was completed: traffic goes on

takeKey();
const steps = new Map();
const journal = new Map();
const drawing = new Drawing($("drawing"));
const chart = new Chart($("chart"), steps);
const drills = new Drills();
let state = null;
let did = {};
let ahead = 0; // the console's clock before this one's, in seconds

const now = () => Date.now() / 1000 + ahead;

function hear(message) {
  ahead = message.at - Date.now() / 1000;
  if (message.first) {
    steps.clear();
    journal.clear();
    drills.offer(message.drills);
    $("load").hidden = !message.drills;
  }
  for (const step of message.steps ?? []) steps.set(step[0], step);
  for (const entry of message.journal ?? []) journal.set(entry.number, entry);
  if (message.journal) showEvents();
  if (message.did) showDid(message.did);
  if (message.state) showState(message.state);
}

function showState(data) {
  document.title = `${data.word} · Holdfast`;
  say($("stack"), data.stack === "holdfast" ? "" : data.stack);
  say($("foot-stack"), data.stack);
  $("verdict").className = `verdict ${data.level}`;
  say($("word"), data.word);
  say($("sentence"), data.primary ? `${data.primary} leads. ${data.sentence}` : data.sentence);
  if (data.asking) return; // what is not known yet is not drawn as missing
  state = data;
  drills.fit(state.nodes.length);
  say($("in-words"), inWords(state));
  drawing.draw(state, traffic());
  showTable();
  showWrong();
}

function showTable() {
  const rows = boxesOf(state).filter((box) => box.key !== "client").map((box) => {
    const cells = [box.title, box.state, box.role ?? "", box.lines.filter(Boolean).join("; ")];
    return make("tr", {}, ...cells.map((text, at) => (at ? make("td", {}, text) : make("th", { scope: "row" }, text))));
  });
  $("table").tBodies[0].replaceChildren(...rows);
}

function showWrong() {
  const known = JSON.stringify(state.problems);
  if (known === showWrong.known) return;
  showWrong.known = known;
  const count = state.problems.length;
  $("wrong-card").hidden = $("to-wrong").hidden = !count;
  say($("to-wrong"), count === 1 ? "What is wrong" : `${count} things are wrong`);
  $("wrong").replaceChildren(...state.problems.map((one) => make("li", {}, make("b", {}, one.what),
    make("p", {}, one.command ? make("code", {}, one.command) : "", ` ${one.where}, “${one.heading}”`))));
}

function showEvents() {
  const known = [...journal.values()].sort((a, b) => b.at - a.at);
  for (const old of known.slice(400)) journal.delete(old.number);
  $("events").replaceChildren(...known.slice(0, EVENTS).map((one) => make("li", { class: one.kind },
    make("time", {}, clock(one.at)), make("span", { "aria-hidden": "true" }, SIGNS[one.kind] ?? "·"), make("span", {}, one.what))));
  const marks = known.filter((one) => MARKED.has(one.kind)).reverse();
  const faults = marks.filter((one) => one.kind === "fault");
  const told = (one) => one.kind === "down" && faults.some((fault) => Math.abs(fault.at - one.at) < 4);
  chart.marks = marks.filter((one) => !told(one)).map((one) => ({ ...one, what: short(one) }));
  drills.show(did.drill, chart.marks);
}

function short({ what }) {
  return what.replace(/^Drill: /, "").replace(/\.$/, "").replace(" accepts writes: it is the primary", " leads")
    .replace("The virtual IP is with", "virtual IP:");
}

function showDid(data) {
  did = data;
  const { load, drill } = did;
  if (!load) return;
  const runs = Boolean(drill && !drill.ended);
  $("load").setAttribute("aria-checked", load.on || runs);
  $("load").disabled = runs;
  say($("load-says"), runs ? "the drill's own" : load.error ? "failed" : load.on ? (load.phase === "running" ? "on" : load.phase) : "off");
  $("load").title = load.error;
  if (load.error) drills.refused(load.error);
  drills.show(drill, chart.marks);
}

function atWork() {
  return Boolean(did.load?.on || (did.drill && !did.drill.ended));
}

function sum(field, seconds) {
  const end = Math.floor((now() - 0.7) * 10);
  let total = 0;
  for (let number = end - Math.round(seconds * 10); number < end; number += 1) total += steps.get(number)?.[field] ?? 0;
  return total;
}

function traffic() {
  return { writes: sum(1, LATELY) > 0, reads: sum(2, LATELY) > 0 };
}

function tick() {
  const [writes, reads] = [sum(1, 1), sum(2, 1)];
  const bad = [...steps.values()].reduce((total, step) => total + step[3] + step[4], 0);
  const some = steps.size > 0 && (atWork() || sum(1, 900) > 0);
  say($("n-writes"), some ? String(writes) : "–");
  say($("n-reads"), some ? String(reads) : "–");
  say($("n-failed"), some ? String(bad) : "–");
  $("n-failed").parentElement.classList.toggle("some", bad > 0);
  say($("n-held"), state?.docker ? String(state.held) : "–");
  $("no-load").hidden = atWork();
  if (state) drawing.draw(state, traffic());
  const oldest = Math.floor(now() * 10) - KEPT;
  for (const number of steps.keys()) if (number < oldest) steps.delete(number);
}

function paint() {
  chart.loaded = atWork();
  chart.draw(now());
}

$("load").onclick = async () => drills.refused(await post("load", { on: !did.load?.on }));
for (const choice of document.querySelectorAll("[name=range]")) {
  choice.onchange = () => {
    chart.seconds = Number(choice.value);
    say($("time-title"), `What clients see`);
    paint();
  };
}
new Stream(hear, (why) => {
  $("gone").hidden = !why;
  say($("gone"), why);
  document.body.classList.toggle("stale", Boolean(why));
});
setInterval(tick, 250);
setInterval(paint, matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 100);
