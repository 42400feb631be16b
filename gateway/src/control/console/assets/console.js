// The console's one script. Pages work without it; with it what is live stays so and answers play
// in their time. Nothing from elsewhere is ever parsed as markup here but what the gateway rendered.
'use strict';

// === what is live ===

// A part of a page that is put anew as the gateway renders it now. While somebody is busy in it, or
// nobody looks, it is stale, and made up for as soon as that is over.
class Live {
  constructor(region) {
    this.region = region;
    this.stale = false;
    this.loading = false;
    const seconds = Number(region.dataset.every);
    if (seconds > 0) setInterval(() => this.changed(), seconds * 1000);
    // Whoever leaves a field is still in it while the event runs.
    region.addEventListener('focusout', () => setTimeout(() => this.catchUp()));
    region.addEventListener('toggle', () => this.catchUp(), true);
    document.addEventListener('visibilitychange', () => this.catchUp());
    if (region.dataset.events) this.listen();
  }

  listen() {
    const said = document.getElementById(this.region.dataset.says);
    const events = new EventSource(this.region.dataset.events);
    // What happened between rendering and listening, or while the connection was lost, was told to
    // nobody here.
    events.addEventListener('open', () => this.changed());
    events.addEventListener('changed', (event) => {
      this.changed();
      if (said) said.textContent = event.data;
    });
    events.addEventListener('ended', () => { events.close(); location.assign('/console/login'); });
  }

  isBusy() {
    const { region } = this;
    const written = [...region.querySelectorAll('textarea')].some((field) => field.value !== field.defaultValue);
    return region.contains(document.activeElement) || region.querySelector('details[open]') || written;
  }

  changed() {
    this.stale = true;
    this.catchUp();
  }

  async catchUp() {
    if (!this.stale || this.loading || document.hidden || this.isBusy()) return;
    this.stale = false;
    this.loading = true;
    try {
      const answer = await fetch(this.region.dataset.refresh, { headers: { accept: 'text/html' } });
      if (answer.status === 401) return location.assign('/console/login');
      const text = answer.ok ? await answer.text() : null;
      if (text !== null && this.isBusy()) this.stale = true;
      else if (text !== null) this.region.innerHTML = text;
    } catch {
      // The gateway is gone or restarts: what is shown stays, and the next try comes.
    } finally {
      this.loading = false;
    }
    this.catchUp();
  }
}

for (const region of document.querySelectorAll('[data-refresh]')) new Live(region);

// === forms ===

document.addEventListener('submit', (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

for (const button of document.querySelectorAll('[data-copy]')) {
  button.hidden = !navigator.clipboard;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = 'Copied';
  });
}

// === replay ===

class Replay {
  constructor(section) {
    this.part = (name) => section.querySelector(`[data-do="${name}"]`);
    this.text = section.querySelector('[data-text]');
    this.clock = section.querySelector('[data-clock]');
    this.speed = 1;
    this.at = 0;      // milliseconds of the answer's own time
    this.shown = 0;   // pieces that are shown
    this.since = null;
    this.part('play').addEventListener('click', () => this.toggle());
    this.part('end').addEventListener('click', () => this.seek(this.length));
    this.part('speed').addEventListener('change', (event) => { this.speed = Number(event.target.value); });
    this.part('seek').addEventListener('input', (event) => this.seek(this.length * event.target.value / 1000));
    section.addEventListener('keydown', (event) => this.key(event));
    this.load(section.dataset.replay);
  }

  async load(from) {
    const answer = await fetch(from);
    if (!answer.ok) { this.text.textContent = 'The answer cannot be read.'; return; }
    const { pieces, ended_ms: ended } = await answer.json();
    this.pieces = pieces;
    this.length = Math.max(ended ?? 0, pieces.length ? pieces[pieces.length - 1][0] : 0, 1);
    this.show();
    if (pieces.length) this.toggle();
    else this.text.textContent = 'No answer is recorded.';
  }

  toggle() {
    if (!this.pieces) return;
    if (this.since !== null) return this.pause();
    if (this.at >= this.length) this.seek(0);
    this.since = performance.now();
    this.part('play').textContent = 'Pause';
    this.tick();
  }

  pause() {
    this.since = null;
    this.part('play').textContent = 'Play';
  }

  tick() {
    if (this.since === null) return;
    const now = performance.now();
    this.at = Math.min(this.length, this.at + (now - this.since) * this.speed);
    this.since = now;
    this.show();
    if (this.at >= this.length) this.pause();
    else setTimeout(() => this.tick(), 16);
  }

  seek(at) {
    if (!this.pieces) return;
    this.at = Math.max(0, Math.min(this.length, at));
    if (this.pieces[this.shown - 1]?.[0] > this.at) { this.shown = 0; this.text.replaceChildren(); }
    if (this.since !== null) this.since = performance.now();
    this.show();
  }

  show() {
    while (this.shown < this.pieces.length && this.pieces[this.shown][0] <= this.at) {
      for (const [masked, text] of this.pieces[this.shown][1]) {
        const node = masked ? document.createElement('mark') : document.createTextNode(text);
        if (masked) node.textContent = text;
        this.text.append(node);
      }
      this.shown += 1;
    }
    const seconds = (ms) => (ms / 1000).toFixed(1);
    this.clock.textContent = `${seconds(this.at)} / ${seconds(this.length)} s`;
    this.part('seek').value = Math.round(this.at / this.length * 1000);
  }

  key(event) {
    if (event.target.matches('select, input, button') && event.key !== 'End') return;
    const acts = {
      ' ': () => this.toggle(),
      ArrowRight: () => this.seek(this.at + 1000),
      ArrowLeft: () => this.seek(this.at - 1000),
      End: () => this.seek(this.length),
      Home: () => this.seek(0),
    };
    const act = acts[event.key];
    if (act) { event.preventDefault(); act(); }
  }
}

for (const section of document.querySelectorAll('[data-replay]')) new Replay(section);
