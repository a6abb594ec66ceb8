// What clients saw, drawn on a canvas: four lanes over one axis of time, and marks across them.

const FIELDS = { number: 0, writes: 1, reads: 2, failed: 3, unknown: 4, w50: 5, w100: 6, r50: 7, r100: 8, held: 9 };
const BEHIND = 0.7; // seconds: what is later has not been told yet
const PAUSE = 0.6; // seconds without a write, while there is a load, that are shaded
const LEFT = 52;
const RIGHT = 14;
const HEAD = 54; // for the names of the marks
const FOOT = 22;
const SHARES = [0.29, 0.24, 0.32, 0.15];
const MARKS = { fault: "✕", down: "✕", undone: "↺", promotion: "★", address: "⇄" };

export class Chart {
  constructor(canvas, steps) {
    [this.canvas, this.steps, this.seconds, this.marks] = [canvas, steps, 60, []];
    new ResizeObserver(() => this.size()).observe(canvas);
    this.size();
  }

  size() {
    const box = this.canvas.getBoundingClientRect();
    [this.wide, this.high, this.scale] = [box.width, box.height, devicePixelRatio || 1];
    [this.canvas.width, this.canvas.height] = [this.wide * this.scale, this.high * this.scale];
    this.draw(this.now ?? 0);
  }

  draw(now) {
    this.now = now;
    const style = getComputedStyle(document.documentElement);
    this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    this.pen.clearRect(0, 0, this.wide, this.high);
    [this.end, this.begin] = [now - BEHIND, now - BEHIND - this.seconds];
    const found = this.columns();
    this.pauses();
    let y = HEAD;
    const lanes = [this.lane("writes", "writes / 100 ms"), this.lane("reads", "reads / 100 ms"), this.latencies, this.held];
    lanes.forEach((lane, at) => {
      const high = (this.high - HEAD - FOOT) * SHARES[at];
      lane.call(this, found, y, high - 22);
      y += high;
    });
    this.axis();
    this.markers();
    this.lengths();
  }

  x(at) {
    return LEFT + ((at - this.begin) / this.seconds) * (this.wide - LEFT - RIGHT);
  }

  // The steps in view, several to a column where there are more of them than pixels.
  columns() {
    const each = Math.max(1, Math.round((this.seconds * 10) / (this.wide - LEFT - RIGHT)));
    const found = new Map();
    for (let number = Math.floor(this.begin * 10); number <= this.end * 10; number += 1) {
      const step = this.steps.get(number);
      if (!step) continue;
      const key = Math.floor(number / each) * each;
      const column = found.get(key) ?? { at: key / 10, wide: each / 10, steps: [] };
      column.steps.push(step);
      found.set(key, column);
    }
    return [...found.values()].map((column) => {
      const all = (name) => column.steps.map((step) => step[FIELDS[name]]).filter((value) => value !== null);
      const sum = (name) => all(name).reduce((total, value) => total + value, 0);
      const most = (name) => (all(name).length ? Math.max(...all(name)) : null);
      const bad = sum("failed") + sum("unknown");
      return { ...column, writes: sum("writes") / each, reads: sum("reads") / each, bad, w100: most("w100"), r100: most("r100"), held: most("held") };
    });
  }

  lane(name, title) {
    return (found, y, high) => {
      const usual = found.map((column) => column[name]).filter(Boolean).sort((a, b) => a - b);
      const most = Math.max(2, Math.min(usual.at(-1) ?? 2, (usual[usual.length >> 1] ?? 2) * 2)) * 1.15;
      this.title(title, y, high, Math.floor(most));
      this.pen.fillStyle = this.colour(name);
      for (const column of found) {
        const tall = Math.min(1, column[name] / most) * high;
        const wide = Math.max(1, this.x(column.at + column.wide) - this.x(column.at) - (this.seconds <= 60 ? 0.6 : 0));
        this.pen.fillRect(this.x(column.at), y + high - tall, wide, tall);
      }
      if (name === "writes") this.failures(found, y, high);
    };
  }

  failures(found, y, high) {
    this.pen.fillStyle = this.colour("bad");
    this.pen.font = "700 14px system-ui, sans-serif";
    for (const column of found) if (column.bad) this.pen.fillText("✕", this.x(column.at) - 5, y + high - 3);
  }

  latencies(found, y, high) {
    const most = Math.max(1000, ...found.flatMap((column) => [column.w100 ?? 0, column.r100 ?? 0])) * 1.3;
    const at = (ms) => y + high * (1 - Math.log(Math.max(ms, 1)) / Math.log(most));
    this.title("longest latency", y, high);
    this.pen.fillStyle = this.colour("dim");
    this.pen.font = "12px system-ui, sans-serif";
    for (const [ms, name] of [[1, "1 ms"], [10, "10"], [100, "100"], [1000, "1 s"], [10000, "10 s"]]) {
      if (ms > most) continue;
      this.rule(at(ms));
      this.pen.fillStyle = this.colour("dim");
      this.pen.textAlign = "right";
      this.pen.fillText(name, LEFT - 6, at(ms) + 4);
      this.pen.textAlign = "left";
    }
    for (const [name, field, dash] of [["reads", "r100", [2, 3]], ["writes", "w100", []]]) {
      this.pen.strokeStyle = this.colour(name);
      this.pen.lineWidth = 2;
      this.pen.setLineDash(dash);
      this.pen.beginPath();
      let before = null;
      for (const column of found) {
        if (column[field] === null) continue;
        const [x, to] = [this.x(column.at), at(column[field])];
        if (before !== null && column.at - before < 5) this.pen.lineTo(x, to);
        else this.pen.moveTo(x, to);
        before = column.at;
      }
      this.pen.stroke();
      this.pen.setLineDash([]);
    }
  }

  held(found, y, high) {
    const most = Math.max(5, ...found.map((column) => column.held ?? 0)) * 1.1;
    this.title("requests in work or held", y, high, Math.floor(most));
    this.pen.fillStyle = this.colour("warn");
    const known = found.filter((column) => column.held !== null);
    known.forEach((column, at) => {
      const until = Math.min(known[at + 1]?.at ?? this.end, column.at + 1.5);
      const tall = (column.held / most) * high;
      this.pen.fillRect(this.x(column.at), y + high - tall, Math.max(1, this.x(until) - this.x(column.at)), tall);
    });
  }

  // Where no write succeeded although clients were at work: the pause that people feel.
  gaps() {
    const found = [];
    const known = [...this.steps.keys()].filter((number) => number > this.begin * 10 - 50 && number <= this.end * 10).sort((a, b) => a - b);
    let last = null;
    for (const number of known) {
      if (!this.steps.get(number)[FIELDS.writes]) continue;
      if (last !== null && (number - last - 1) / 10 >= PAUSE && (number - last) / 10 < 90) found.push([(last + 1) / 10, number / 10]);
      last = number;
    }
    if (last !== null && this.loaded && this.end - (last + 1) / 10 >= PAUSE) found.push([(last + 1) / 10, this.end]);
    return found;
  }

  pauses() {
    for (const [from, to] of this.gaps()) {
      if (!this.worked(from, to)) continue;
      const [x1, x2] = [Math.max(LEFT, this.x(from)), this.x(to)];
      if (x2 < LEFT) continue;
      this.pen.fillStyle = this.colour("pause");
      this.pen.fillRect(x1, HEAD - 6, Math.max(2, x2 - x1), this.high - HEAD - FOOT);
    }
  }

  // How long each was, beside it: people read that first.
  lengths() {
    for (const [from, to] of this.seconds > 300 ? [] : this.gaps()) {
      if (!this.worked(from, to) || this.x(from) < LEFT) continue;
      const text = `${(to - from).toFixed(1)} s${this.wide > 560 ? " without a write" : ""}`;
      this.pen.font = "700 15px system-ui, sans-serif";
      const wide = this.pen.measureText(text).width;
      const x = this.x(to) + wide + 8 < this.wide - RIGHT ? this.x(to) + 6 : Math.max(LEFT, this.x(from) - wide - 6);
      this.pen.fillStyle = this.colour("card");
      this.pen.fillRect(x - 3, HEAD - 4, wide + 6, 19);
      this.pen.fillStyle = this.colour("text");
      this.pen.fillText(text, x, HEAD + 11);
    }
  }

  // Reads went on, or somebody waited for a write that was due then: a load that was on.
  worked(from, to) {
    for (let number = Math.ceil(from * 10); number < to * 10; number += 1) {
      const step = this.steps.get(number);
      if (step && (step[FIELDS.reads] || step[FIELDS.w100] || step[FIELDS.failed])) return true;
    }
    return this.loaded && to === this.end;
  }

  title(text, y, high, most) {
    this.rule(y + high);
    this.pen.fillStyle = this.colour("dim");
    this.pen.font = "12px system-ui, sans-serif";
    this.pen.fillText(text, LEFT, y - 4);
    if (most === undefined) return;
    this.pen.textAlign = "right";
    this.pen.fillText(String(most), LEFT - 6, y + 8);
    this.pen.fillText("0", LEFT - 6, y + high + 4);
    this.pen.textAlign = "left";
  }

  rule(y) {
    this.pen.fillStyle = this.colour("line");
    this.pen.fillRect(LEFT, Math.round(y), this.wide - LEFT - RIGHT, 1);
  }

  axis() {
    this.pen.fillStyle = this.colour("dim");
    this.pen.font = "12px system-ui, sans-serif";
    const every = { 60: 10, 300: 60, 900: 180 }[this.seconds];
    for (let ago = 0; ago <= this.seconds; ago += every) {
      const name = ago === 0 ? "now" : ago < 120 && every < 60 ? `−${ago} s` : `−${ago / 60} min`;
      this.pen.textAlign = ago === 0 ? "right" : "center";
      this.pen.fillText(name, this.x(this.end - ago) + (ago ? 0 : RIGHT), this.high - 6);
    }
    this.pen.textAlign = "left";
  }

  markers() {
    const ends = [-1e9, -1e9, -1e9]; // of the names in three rows
    for (const mark of this.marks) {
      if (mark.at < this.begin || mark.at > this.end + 2) continue;
      const x = Math.min(this.x(mark.at), this.wide - 2);
      const name = { fault: "bad", down: "bad", undone: "good" }[mark.kind] ?? "text";
      this.pen.fillStyle = this.colour(name);
      this.pen.fillRect(x - 1, HEAD - 8, 2, this.high - HEAD - FOOT + 4);
      this.pen.font = "600 13px system-ui, sans-serif";
      const text = `${MARKS[mark.kind]} ${mark.what}`;
      const wide = this.pen.measureText(text).width;
      const from = Math.max(LEFT, Math.min(x - 4, this.wide - wide - 2));
      const row = ends.findIndex((end) => from > end + 10);
      if (row < 0) continue;
      ends[row] = from + wide;
      this.pen.fillText(text, from, 12 + row * 16);
    }
  }
}
