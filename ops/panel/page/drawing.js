// The stack as it is, in SVG: what there is, in which state, and where requests go now.

import { curve, layout, stub } from "./layout.js";
import { boxesOf } from "./boxes.js";

const SVG = "http://www.w3.org/2000/svg";
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Drawing {
  constructor(place) {
    this.place = place;
    this.svg = document.createElementNS(SVG, "svg");
    this.layers = ["ways", "boxes"].map((name) => this.svg.appendChild(make("g", { class: name })));
    this.kept = new Map(); // elements by key: what stays is moved, not made anew
    place.append(this.svg);
    new ResizeObserver(() => this.state && this.draw(this.state, this.flow)).observe(place);
  }

  draw(state, flow) {
    [this.state, this.flow] = [state, flow];
    if (this.place.clientWidth < 200) return; // not laid out yet
    const plan = layout(state, this.place.clientWidth);
    this.svg.setAttribute("viewBox", `0 0 ${plan.width} ${plan.height}`);
    this.svg.setAttribute("height", plan.height);
    this.used = new Set();
    this.routes(state, plan, flow);
    this.watchers(state, plan);
    for (const box of boxesOf(state)) this.box(box, plan.boxes[box.key]);
    for (const [key, element] of this.kept) {
      if (!this.used.has(key)) {
        element.remove();
        this.kept.delete(key);
      }
    }
  }

  routes(state, { boxes, tall }, flow) {
    const { apps, writes, reads } = state.routes;
    const holder = state.vip.holder;
    const both = (name, from, to, thin) => {
      if (!boxes[from] || !boxes[to]) return;
      this.flowing(`w:${name}`, "writes", curve(boxes[from], boxes[to], tall, -7), flow.writes, thin);
      this.flowing(`r:${name}`, "reads", curve(boxes[from], boxes[to], tall, 7), flow.reads, thin);
    };
    const nowhere = (name, from, why) => {
      this.flowing(`w:${name}`, "writes", stub(boxes[from], tall, -7), false, false, why);
      this.flowing(`r:${name}`, "reads", stub(boxes[from], tall, 7), false, false, "✕");
    };
    if (state.edge.up) both("edge", "client", "edge");
    else nowhere("edge", "client", "✕");
    if (holder) both("vip", "edge", holder);
    else nowhere("vip", "edge", "✕");
    for (const app of apps) {
      if (holder) both(`app:${app}`, holder, app, true);
      if (holder) both(`ways:${app}`, app, "ways", true);
    }
    if (holder) this.toNodes({ writes, reads }, boxes, tall, flow);
  }

  toNodes({ writes, reads }, boxes, tall, flow) {
    const lane = tall ? [0.3, 0.7] : [0.52, 0.76];
    writes.forEach((node, at) => {
      const way = boxes[node] && curve(boxes.ways, boxes[node], tall, 0, [lane[0], tall ? 0.4 : 0.36]);
      if (way) this.flowing(at ? `w:node:${node}` : "w:node", "writes", way, flow.writes);
    });
    if (!writes.length) {
      this.flowing("w:node", "writes", stub(boxes.ways, tall, 0, lane[0]), false, false, "✕ writes wait");
    }
    for (const node of reads) {
      const way = boxes[node] && curve(boxes.ways, boxes[node], tall, 0, [lane[1], tall ? 0.6 : 0.6]);
      if (way) this.flowing(`r:node:${node}`, "reads", way, flow.reads);
    }
    if (!reads.length) this.flowing("r:none", "reads", stub(boxes.ways, tall, 0, lane[1]), false, false, "✕");
  }

  watchers(state, { boxes, tall }) {
    const leader = state.nodes.find((node) => node.writable);
    for (const node of state.nodes) {
      const [there, here] = [boxes[node.name], boxes.monitor];
      if (state.monitor.answers && node.healthy && !tall) {
        const [x, y, h] = [there.x + there.w, there.y + there.h / 2, here.y + here.h / 2];
        this.path(`watch:${node.name}`, "watch", `M${x} ${h}C${x + 44} ${h} ${x + 44} ${y} ${x} ${y}`);
      }
      if (leader && node.in_sync && boxes[leader.name]) this.replication(leader.name, node, boxes, tall);
    }
  }

  replication(leader, node, boxes, tall) {
    const [from, to] = [boxes[leader], boxes[node.name]];
    const [x, below] = [from.x + 24, to.y > from.y];
    if (tall) {
      const [x1, x2] = from.x < to.x ? [from.x + from.w, to.x] : [from.x, to.x + to.w];
      this.path(`copy:${node.name}`, "watch", `M${x1} ${from.y + 34}L${x2} ${to.y + 34}`);
      return;
    }
    const [y1, y2] = below ? [from.y + from.h, to.y] : [from.y, to.y + to.h];
    this.path(`copy:${node.name}`, "watch", `M${x} ${y1}L${x} ${y2}`);
    const label = this.keep(`copy-text:${node.name}`, "text", 0);
    set(label, { x: from.x + 34, y: (y1 + y2) / 2 + 4 }, `${below ? "▼" : "▲"} every commit`);
  }

  path(key, name, d) {
    set(this.keep(key, "path", 0), { class: name, d });
  }

  flowing(key, kind, way, moves, thin = false, cut = "") {
    const line = this.keep(key, "path", 0);
    set(line, { id: key, class: `flow ${kind}${thin ? " thin" : ""}${moves ? "" : " idle"}`, d: way.d });
    if (cut) {
      const [x, y] = way.angle ? [way.x + 10, way.y + 6] : [way.x + 6, way.y + 5];
      set(this.keep(`${key}:cut`, "text", 1), { class: "cut", x, y }, cut);
    } else {
      const head = this.keep(`${key}:head`, "path", 0);
      set(head, { class: `head ${kind}`, d: "M-2 -6L9 0L-2 6Z", transform: `translate(${way.x} ${way.y}) rotate(${way.angle})` });
    }
    if (moves && !thin && !cut && !still.matches) this.dots(key, kind);
  }

  dots(key, kind) {
    const dot = this.keep(`${key}:dot`, "circle", 0);
    if (dot.childNodes.length) return;
    set(dot, { class: `dot ${kind}`, r: 4.5 });
    const motion = make("animateMotion", { dur: kind === "writes" ? "1.3s" : "0.9s", repeatCount: "indefinite" });
    motion.append(make("mpath", { href: `#${key}` }));
    dot.append(motion);
  }

  box(what, at) {
    if (!at) return;
    const group = this.keep(`box:${what.key}`, "g", 1);
    set(group, { class: `box ${what.is}${what.leads ? " leads" : ""}`, transform: `translate(${at.x} ${at.y})` });
    this.inside(group, what, at);
    if (what.pill) this.pill(`pill:${what.key}`, what.pill, at, what.leads ? "pill leads" : "pill");
    if (what.vip) this.pill("vip", what.vip, at, "vip");
  }

  inside(group, what, at) {
    const lines = [[what.title, "title-text"], [what.state, "state"], ...what.lines.map((each) => [each, ""])]
      .filter(([text]) => text);
    lines.length = Math.min(lines.length, Math.floor((at.h - 8) / 18));
    while (group.childNodes.length > lines.length + 1) group.lastChild.remove();
    if (!group.firstChild) group.append(make("rect", { class: "frame", rx: 12 }));
    set(group.firstChild, { width: at.w, height: at.h });
    lines.forEach(([text, name], row) => {
      const line = group.childNodes[row + 1] ?? group.appendChild(make("text", {}));
      const y = [25, 44, 62, 79][row];
      const fits = Math.floor((at.w - 20) / (name ? 7.7 : 7.1));
      set(line, { class: name, x: 13, y }, text.length > fits ? `${text.slice(0, fits - 1)}…` : text);
    });
  }

  pill(key, text, at, name) {
    const pill = this.keep(key, "g", 1);
    if (!pill.firstChild) pill.append(make("rect", { rx: 11, height: 22, y: -11 }), make("text", { y: 4.5, x: 10 }));
    const wide = text.length * 7.1 + 20;
    set(pill, { class: name });
    pill.style.transform = `translate(${at.x + at.w - wide - 8}px, ${at.y}px)`;
    set(pill.firstChild, { width: wide });
    set(pill.lastChild, {}, text);
    this.layers[1].append(pill); // above the boxes
  }

  keep(key, tag, layer) {
    this.used.add(key);
    if (!this.kept.has(key)) this.kept.set(key, this.layers[layer].appendChild(make(tag, {})));
    return this.kept.get(key);
  }
}

function make(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  return element;
}

function set(element, attributes, text) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
  if (text !== undefined && element.textContent !== text) element.textContent = text;
}
