// The drills: what there is to break, what goes on, and the checker's verdict.

import { $, make, say } from "./dom.js";
import { post } from "./key.js";

const FIRST = 5; // shown without asking for more

export class Drills {
  constructor() {
    this.asked = null;
    $("ask-no").onclick = () => $("ask").close();
    $("ask-yes").onclick = () => {
      $("ask").close();
      this.begin(this.asked, true);
    };
  }

  offer(all) {
    $("drill-card").hidden = !all;
    document.body.classList.toggle("alone", !all);
    if (!all || this.all) return;
    this.all = all;
    const offer = (each) => make("li", { id: `offer-${each.name}` }, this.button(each));
    const list = (some) => make("ul", { class: "drills" }, ...some.map(offer));
    $("drills").append(list(all.slice(0, FIRST)));
    $("drills-more").append(list(all.slice(FIRST)));
  }

  // Offers what a stack with so many data nodes can have.
  fit(nodes) {
    if (!this.all) return;
    for (const each of this.all) $(`offer-${each.name}`).hidden = each.nodes > nodes;
    const more = this.all.filter((each) => each.nodes <= nodes).length - FIRST;
    say($("more").querySelector("summary"), `${more} more`);
  }

  button(drill) {
    const button = make("button", { "data-drill": drill.name, onclick: () => this.ask(drill) });
    const asks = drill.asks ? " Asks first." : "";
    button.append(make("b", {}, drill.name), make("small", {}, `${drill.summary} About ${drill.seconds}\u00a0s.${asks}`));
    return button;
  }

  ask(drill) {
    if (!drill.asks) return this.begin(drill, false);
    this.asked = drill;
    say($("ask-title"), `${drill.name}?`);
    say($("ask-what"), drill.summary);
    say($("ask-why"), drill.asks);
    $("ask").showModal();
    $("ask-no").focus();
  }

  async begin(drill, sure) {
    this.refused(await post("drill", { name: drill.name, sure }));
    if (innerWidth < 1080) $("drill-card").scrollIntoView();
    else scrollTo(0, 0); // drawing, curve and verdict on one screen
  }

  refused(why) {
    $("refused").hidden = !why;
    say($("refused"), why);
  }

  show(drill, happened) {
    const runs = Boolean(drill) && !drill.ended;
    $("drills").hidden = $("more").hidden = runs;
    this.happened = drill ? happened.filter((one) => one.at >= drill.began) : [];
    const known = JSON.stringify([drill, this.happened]);
    if (known === this.known) return;
    this.known = known;
    $("drill-now").replaceChildren(...(drill ? [this.card(drill, runs)] : []));
  }

  card(drill, runs) {
    const { verdict } = drill;
    const is = runs ? "" : verdict?.ok ? "well" : "bad";
    const card = make("div", { class: `run ${is}` }, make("h3", {}, drill.name));
    if (runs) {
      card.append(make("p", {}, drill.summary), make("p", { class: "now" }, `${drill.phase}…`));
    } else {
      card.append(...(verdict ? judged(verdict) : [make("p", { class: "now" }, drill.error)]));
    }
    for (const line of drill.lacks.slice(0, 1)) card.append(make("p", {}, line));
    if (!verdict) card.append(this.steps(drill));
    if (runs && !drill.stopping) {
      card.append(make("button", { onclick: async () => this.refused(await post("drill/stop", {})) }, "Stop, and mend"));
    }
    return card;
  }

  steps(drill) {
    const lines = this.happened.map((one) => make("li", { class: one.kind },
      make("time", {}, `${(one.at - drill.began).toFixed(1)} s`), make("span", {}, one.what)));
    return make("ol", { class: "steps" }, ...lines);
  }
}

function judged(verdict) {
  const { judged: found, measured, problems } = verdict;
  const [one] = measured;
  const failed = one ? Object.values(one.failed).reduce((sum, count) => sum + count, 0) : 0;
  const big = [[found.lost, "lost"], [failed, "failed"], [one ? `${one.write_pause.toFixed(1)} s` : "–", "write pause"]];
  const parts = [make("dl", { class: "big" }, ...big.map(([number, what]) => make("div", {}, make("dt", {}, what), make("dd", {}, String(number)))))];
  parts.push(make("p", { class: "now" }, verdict.ok ? "Every promise was kept." : "A promise was broken, or the drill is incomplete."));
  const number = (count) => count.toLocaleString("en");
  parts.push(make("p", {}, `The checker went through ${number(found.acknowledged)} acknowledged writes and ${number(found.reads)} reads: ` +
    `${found.lost} lost, ${found.twice} applied twice, ${found.stale} stale.`));
  if (one) {
    const careful = one.failed.careful ?? 0;
    const who = failed ? ` ${careful} of those that failed were clients with keys and retries.` : "";
    parts.push(make("p", {}, `Reads paused for ${one.read_pause.toFixed(1)} s; whole again ${one.redundant_after.toFixed(1)} s after mending began.${who}`));
  }
  for (const line of [...problems, ...found.findings.slice(0, 3), ...(one?.missed ?? [])]) parts.push(make("p", {}, line));
  return parts;
}
