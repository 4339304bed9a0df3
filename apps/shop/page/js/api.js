// Requests to the shop, and its stream of events with a connection that heals itself.

/** What a refused request says, from its problem+json. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || `the shop answered ${status}`);
    this.status = status;
    this.errors = body?.errors ?? (body?.field ? [{ field: body.field, detail: this.message }] : []);
  }
}

async function answerOf(response) {
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

export async function get(path) {
  return answerOf(await fetch(path, { headers: { Accept: 'application/json' }, cache: 'no-store' }));
}

export async function post(path, body, headers = {}) {
  const type = body === undefined ? {} : { 'Content-Type': 'application/json' };
  return answerOf(await fetch(path, { method: 'POST', headers: { ...type, ...headers }, body: body === undefined ? undefined : JSON.stringify(body) }));
}

/** A key that makes a repeated order the same order. Works without a secure context, too. */
export function idempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Reads `path` as server-sent events for ever. `fetch` and not EventSource, because after a restart
 * of the shop it must go on from the last cursor, soon, and say meanwhile how it stands.
 */
export class Stream {
  #cursor = '';
  #attempt = 0;
  #wake = () => {};

  constructor(path, { onMessage, onPhase }) {
    this.path = path;
    this.onMessage = onMessage;
    this.onPhase = onPhase;
  }

  async run() {
    addEventListener('online', () => this.#wake());
    document.addEventListener('visibilitychange', () => document.hidden || this.#wake());
    for (;;) {
      await this.#connection().catch(() => {});
      this.#attempt += 1;
      this.onPhase('lost', this.#attempt);
      await this.#pause(Math.min(200 * 2 ** Math.min(this.#attempt - 1, 4), 2000) * (0.8 + Math.random() * 0.4));
    }
  }

  async #connection() {
    const headers = { Accept: 'text/event-stream' };
    if (this.#cursor) headers['Last-Event-ID'] = this.#cursor;
    const response = await fetch(this.path, { headers, cache: 'no-store' });
    if (!response.ok || !response.body) {
      // A cursor that the shop no longer knows must not shut the page out.
      if (response.status >= 400 && response.status < 500) this.#cursor = '';
      throw new Problem(response.status, null);
    }
    this.onPhase('live', this.#attempt);
    this.#attempt = 0;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
      rest = blocks.pop();
      for (const block of blocks) this.#message(block);
    }
  }

  #message(block) {
    let type = 'message';
    let data = '';
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':');
      if (colon <= 0) continue;
      const value = line.slice(colon + 1).replace(/^ /, '');
      const field = line.slice(0, colon);
      if (field === 'event') type = value;
      else if (field === 'data') data += data ? `\n${value}` : value;
      else if (field === 'id') this.#cursor = value;
    }
    if (data) this.onMessage(type, JSON.parse(data));
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/**
 * Keeps a figure fresh: `apply` gets the body of `path` soon after `touch()`, at most once in
 * `gap` ms, and every few seconds while the page is looked at.
 */
export function keepFresh(path, apply, gap = 1000) {
  let dirty = true;
  let busy = false;
  let last = 0;
  const step = async () => {
    const now = performance.now();
    if (busy || document.hidden || document.body.dataset.link !== 'live') return;
    if (!(dirty && now - last >= gap) && now - last < 5000) return;
    busy = true;
    dirty = false;
    last = now;
    try {
      apply(await get(path));
    } catch {
      dirty = true;
    }
    busy = false;
  };
  setInterval(step, 250);
  return {
    touch() {
      dirty = true;
      step();
    },
  };
}
