/**
 * Connections that something happens to, in the client's namespace: one order per line on stdin, one answer per line.
 *
 *   node survivors-main.js ADDRESS PORT
 *   {"do":"open","count":N,"kind":"idle"|"active"}   opens connections; each sends one request
 *   {"do":"young","count":N}                         sends the SYNs of connections, and waits for none
 *   {"do":"end"}                                     each sends one more request; ends all, prints what became of them
 *
 * An active connection sends a request twice a second.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** What became of the connections of one kind. */
export interface Outcome {
  connections: number;
  broken: number;
  /** Ended by a RST. */
  reset: number;
  /** Connections that more than one server answered. */
  split: number;
  /** The longest time for an answer, by connection, in ms: percentiles over the connections. */
  p50: number;
  p99: number;
  max: number;
}
export type Kind = 'idle' | 'active' | 'young';
export type Order =
  | { do: 'open'; count: number; kind: Kind }
  | { do: 'young'; count: number }
  | { do: 'end' };

const [address, portText] = process.argv.slice(2);
const port = Number(portText);
const REQUEST = `GET / HTTP/1.1\r\nHost: web\r\n\r\n`;
const EVERY_MS = 500;
const LAST_MS = 20_000;
const AT_ONCE = 50;

class One {
  readonly #socket: Socket;
  #askedAt = 0;
  #text = '';
  #done: (() => void) | undefined;
  readonly servers = new Set<string>();
  longestMs = 0;
  isBroken = false;
  isReset = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(readonly kind: Kind) {
    this.#askedAt = performance.now();
    this.#socket = connect({ host: address, port, noDelay: true });
    this.#socket.on('data', (chunk) => this.#take(chunk.toString('latin1')));
    this.#socket.on('error', (error: NodeJS.ErrnoException) => {
      this.isReset ||= error.code === 'ECONNRESET' || error.code === 'ECONNREFUSED';
    });
    this.#socket.once('close', () => {
      this.isBroken = true;
      this.#answered();
    });
  }

  #take(text: string): void {
    this.#text += text;
    const head = this.#text.indexOf('\r\n\r\n');
    const length = /Content-Length: (\d+)/i.exec(this.#text)?.[1];
    if (head < 0 || length === undefined || this.#text.length < head + 4 + Number(length)) return;
    const server = /X-Served-By: (\S+)/i.exec(this.#text)?.[1];
    if (server !== undefined) this.servers.add(server);
    this.#text = '';
    this.#answered();
  }

  #answered(): void {
    if (this.#askedAt !== 0) this.longestMs = Math.max(this.longestMs, performance.now() - this.#askedAt);
    this.#askedAt = 0;
    this.#done?.();
    this.#done = undefined;
  }

  /** Sends a request, also before the connection stands. Resolves with its answer, or when the connection is broken. */
  ask(): Promise<void> {
    if (this.isBroken) return Promise.resolve();
    if (this.#done !== undefined) return new Promise((resolve) => setTimeout(resolve, 0));
    this.#askedAt = performance.now();
    return new Promise((resolve) => {
      this.#done = resolve;
      this.#socket.write(REQUEST);
    });
  }

  begin(): void {
    if (this.kind !== 'active') return;
    this.#timer = setTimeout(() => {
      this.#timer = setInterval(() => void this.ask(), EVERY_MS);
    }, Math.random() * EVERY_MS);
  }

  async last(): Promise<void> {
    clearInterval(this.#timer);
    const late = setTimeout(() => this.#socket.destroy(), LAST_MS);
    // An answer that is under way comes first.
    while (this.#done !== undefined && !this.isBroken)
      await new Promise((resolve) => setTimeout(resolve, 10));
    await this.ask();
    clearTimeout(late);
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }
}

const all: One[] = [];

async function open(count: number, kind: Kind): Promise<void> {
  for (let n = 0; n < count; n += AT_ONCE)
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, count - n) }, async () => {
        const one = new One(kind);
        all.push(one);
        await one.ask();
        one.longestMs = 0;
        one.begin();
      }),
    );
}

function outcome(kind: Kind): Outcome {
  const ones = all.filter((o) => o.kind === kind);
  const times = ones.map((o) => o.longestMs).sort((a, b) => a - b);
  const at = (q: number): number =>
    Math.round(times[Math.min(times.length - 1, Math.floor(times.length * q))] ?? 0);
  return {
    connections: ones.length,
    broken: ones.filter((o) => o.isBroken).length,
    reset: ones.filter((o) => o.isReset).length,
    split: ones.filter((o) => o.servers.size > 1).length,
    ...{ p50: at(0.5), p99: at(0.99), max: at(1) },
  };
}

async function carryOut(order: Order): Promise<unknown> {
  if (order.do === 'open') return open(order.count, order.kind);
  if (order.do === 'young') {
    for (let n = 0; n < order.count; n++) all.push(new One('young'));
    return undefined;
  }
  await Promise.all(all.map((o) => o.last()));
  return { idle: outcome('idle'), active: outcome('active'), young: outcome('young') };
}

createInterface({ input: process.stdin }).on('line', (line) => {
  void carryOut(JSON.parse(line) as Order).then((answer) =>
    process.stdout.write(`${JSON.stringify(answer ?? {})}\n`),
  );
});
