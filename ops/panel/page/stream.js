// The console's stream: what is so, and what changes. It comes back by itself when the console does.

const SILENT = 3500; // milliseconds without a word after which what is shown may be old
const AGAIN = 1000;

export class Stream {
  constructor(heard, gone) {
    [this.heard, this.gone] = [heard, gone];
    this.open();
    setInterval(() => this.check(), 500);
  }

  open() {
    this.source?.close();
    this.source = new EventSource("stream");
    this.last ??= performance.now();
    this.source.onmessage = (event) => {
      this.last = performance.now();
      this.gone("");
      this.heard(JSON.parse(event.data));
    };
  }

  async check() {
    const quiet = performance.now() - this.last;
    if (quiet < SILENT) return;
    this.gone(`The console has said nothing for ${Math.round(quiet / 1000)} s: what is shown may be old.`);
    if (this.asking || performance.now() - (this.asked ?? 0) < AGAIN) return;
    [this.asking, this.asked] = [true, performance.now()];
    try {
      const answer = await fetch("icon.svg", { cache: "no-store", signal: AbortSignal.timeout(2000) });
      if (answer.status === 403) this.gone("This link is not good any more: open the one that ./holdfast console prints now.");
      else this.open();
    } catch {
      this.gone("The console does not answer: is it still running? This page goes on when it is.");
    } finally {
      this.asking = false;
    }
  }
}
