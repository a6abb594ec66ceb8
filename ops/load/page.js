// A cursor over all charts, and what happened in the step it is on.
const data = JSON.parse(document.getElementById("data").textContent);
const [charts, cursor, tip] = ["charts", "cursor", "tip"].map((id) => document.getElementById(id));

function line(name, step) {
  const [ok, failed, unknown, median, longest] = step;
  const bad = (failed ? `, ${failed} failed` : "") + (unknown ? `, ${unknown} unknown` : "");
  return `${name} completed: ${ok} ok${bad}; of those due then: median ${median}, longest ${longest}`;
}

function show(event) {
  const box = charts.getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width;
  const part = (across - data.left) / (data.right - data.left);
  const number = Math.floor((part * data.seconds) / data.step);
  if (part < 0 || part > 1 || number >= data.writes.length) return hide();
  const from = number * data.step;
  const near = data.marks.filter((mark) => Math.abs(mark.at - from) < data.seconds / 100);
  tip.textContent = [
    `${from.toFixed(1)} s`,
    line("writes", data.writes[number]),
    line("reads", data.reads[number]),
    ...near.map((mark) => `${mark.at.toFixed(2)} s: ${mark.what}`),
  ].join("\n");
  cursor.style.left = `${across * 100}%`;
  cursor.style.display = tip.style.display = "block";
  const left = across > 0.55 ? across * box.width - tip.offsetWidth - 14 : across * box.width + 14;
  tip.style.left = `${left}px`;
}

function hide() {
  cursor.style.display = tip.style.display = "none";
}

charts.addEventListener("mousemove", show);
charts.addEventListener("mouseleave", hide);
