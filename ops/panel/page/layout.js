// Where each box of the drawing is: from left to right, or from top to bottom where it is narrow.

export const WIDE = 1100; // pixels from which it goes from left to right
const HIGH = 90;
const COLUMNS = [["client", 88], ["edge", 124], ["proxies", 172], ["apps", 190], ["ways", 158], ["nodes", 232]];
const BETWEEN = 42; // pixels between two boxes of a column
const MARGIN = 40; // at the right, for the monitor's lines

export function layout(state, width) {
  const rows = {
    client: ["client"],
    edge: ["edge"],
    proxies: state.proxies.map((each) => each.name),
    apps: state.apps.map((each) => each.name),
    ways: ["ways"],
    nodes: state.nodes.map((each) => each.name),
    watchers: state.backups ? ["backup", "monitor"] : ["monitor"],
  };
  return width >= WIDE ? across(rows, width) : down(rows, width);
}

function across(rows, width) {
  const boxes = {};
  const total = COLUMNS.reduce((sum, [, wide]) => sum + wide, 0);
  const gap = Math.min(92, (width - MARGIN - total) / (COLUMNS.length - 1));
  const most = Math.max(2, rows.nodes.length);
  const step = HIGH + BETWEEN;
  const middle = 16 + (most * step - BETWEEN) / 2;
  let x = 2;
  for (const [name, wide] of COLUMNS) {
    const all = rows[name];
    all.forEach((key, row) => {
      const y = middle - (all.length * step - BETWEEN) / 2 + row * step;
      boxes[key] = { x, y, w: wide, h: HIGH };
    });
    x += wide + gap;
  }
  const foot = 16 + most * step - 12;
  const node = boxes[rows.nodes[0]] ?? boxes.ways;
  boxes.monitor = { x: node.x, y: foot, w: node.w, h: 58 };
  if (rows.watchers.includes("backup")) boxes.backup = { x: boxes.ways.x + boxes.ways.w - 236, y: foot, w: 236, h: 58 };
  return { boxes, width, height: foot + 60, tall: false };
}

function down(rows, width) {
  const boxes = {};
  let y = 14;
  const place = (keys, high, between) => {
    const gap = keys.length > 2 ? 22 : 34;
    const wide = (width - 4 - gap * (keys.length - 1)) / keys.length;
    keys.forEach((key, at) => {
      boxes[key] = { x: 2 + at * (wide + gap), y, w: wide, h: high };
    });
    y += high + between;
  };
  place(["client", "edge"], 72, 44);
  place(rows.proxies, 72, 44);
  place(rows.apps, HIGH, 40);
  place(["ways"], HIGH, 46);
  place(rows.nodes, HIGH, 30);
  place(rows.watchers, 62, 6);
  return { boxes, width, height: y, tall: true };
}

// A curve from the side of one box that faces the other; `shift` keeps two beside each other apart.
export function curve(from, to, tall, shift = 0, [start, end] = [0.5, 0.5]) {
  if (tall && from.y + from.h <= to.y) {
    const [x1, y1, x2, y2] = [from.x + from.w * start + shift, from.y + from.h, to.x + to.w * end + shift, to.y - 9];
    const bend = (y2 - y1) / 2;
    return { d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`, x: x2, y: y2, angle: 90 };
  }
  const [x1, y1, x2, y2] = [from.x + from.w, from.y + from.h * start + shift, to.x - 9, to.y + to.h * end + shift];
  const bend = (x2 - x1) / 2;
  return { d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, x: x2, y: y2, angle: 0 };
}

// A way that leads nowhere: it ends halfway.
export function stub(from, tall, shift, start = 0.5, long = 34) {
  if (tall) {
    const [x, y] = [from.x + from.w * start + shift, from.y + from.h];
    const end = y + Math.min(long, 18);
    return { d: `M${x} ${y}C${x} ${y + 6} ${x} ${end - 6} ${x} ${end}`, x, y: end, angle: 90 };
  }
  const [x, y] = [from.x + from.w, from.y + from.h * start + shift];
  return { d: `M${x} ${y}C${x + 10} ${y} ${x + long - 10} ${y} ${x + long} ${y}`, x: x + long, y, angle: 0 };
}
