/** How busy this machine is: the connections on its services' ports, and processor use. */
import { readFileSync } from 'node:fs';
import { native } from '../device/native.js';

// TCP states as the kernel numbers them, and as /proc/net/tcp prints them.
const ESTABLISHED = 1;
const SYN_RECV = 3;
const WAIT_LOOK_MS = 100;
/** Waits of which the shortest counts, and how many one look sees at most. */
const LAST_WAITS = 5;
const MOST_WAITS = 512;
/** A look may take one part in so many of the time. */
const LEAST_REST = 50;
const WRITTEN = new Set(['01', '03']);

/** Established and half-open connections on local ports. */
export function countConnections(ports: ReadonlySet<number>): number {
  try {
    return native.countSockets((1 << ESTABLISHED) | (1 << SYN_RECV), Uint16Array.from(ports));
  } catch {
    return countListed(ports);
  }
}

/**
 * How long this host's servers take for the first byte of an answer, as the connections on local ports show it: the shortest of
 * the last waits. A queue makes single waits long; all of them are long where the host is slow, or full.
 */
export class WaitMeter {
  /** ms; 0 while no wait was seen. What is known stays while no client waits. */
  ms = 0;
  readonly #out = new Int32Array(2 * MOST_WAITS);
  /** Waits of clients that got an answer since. */
  readonly #ended: number[] = [];
  /** By socket: how long its client had waited when it was last seen, ms. */
  #waiting = new Map<number, number>();
  #timer: NodeJS.Timeout | undefined;

  /** Looks ten times a second; less often where there are so many connections that a look takes long. */
  start(ports: ReadonlySet<number>): void {
    const numbers = Uint16Array.from(ports);
    const look = (): void => {
      const begun = performance.now();
      this.#look(numbers);
      const took = performance.now() - begun;
      this.#timer = setTimeout(look, Math.max(WAIT_LOOK_MS, took * LEAST_REST));
    };
    if (ports.size > 0) look();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #look(ports: Uint16Array): void {
    let count: number;
    try {
      count = native.waitingClients(1 << ESTABLISHED, ports, this.#out);
    } catch {
      // A kernel without tcp_diag: no wait is known.
      return;
    }
    const now = new Map<number, number>();
    for (let n = 0; n < count; n++) now.set(this.#out[2 * n], this.#out[2 * n + 1]);
    for (const [socket, ms] of this.#waiting) if ((now.get(socket) ?? -1) < ms) this.#ended.push(ms);
    this.#waiting = now;
    this.#ended.splice(0, this.#ended.length - LAST_WAITS);
    const shortest = this.#ended.length < LAST_WAITS ? 0 : Math.min(...this.#ended);
    // Five clients that wait now count as well, because a server that answers no request has no ended waits.
    const longest = [...now.values()].sort((x, y) => y - x);
    this.ms = Math.max(shortest, longest[LAST_WAITS - 1] ?? 0);
  }
}

/** The same count for a kernel without tcp_diag, from the list of all connections. */
export function countListed(ports: ReadonlySet<number>): number {
  let count = 0;
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      continue;
    }
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/, 4);
      if (fields.length < 4 || !WRITTEN.has(fields[3])) continue;
      if (ports.has(Number.parseInt(fields[1].slice(fields[1].lastIndexOf(':') + 1), 16))) count++;
    }
  }
  return count;
}

/** Processor use of the whole machine between two calls. */
export class CpuMeter {
  #busy = 0;
  #total = 0;

  /** Percent since the last call; 0 at the first call. */
  read(): number {
    const fields = readFileSync('/proc/stat', 'utf8')
      .split('\n', 1)[0]
      .trim()
      .split(/\s+/)
      .slice(1, 9)
      .map(Number);
    const total = fields.reduce((a, b) => a + b, 0);
    const busy = total - fields[3] - fields[4];
    const share =
      this.#total === 0 || total === this.#total ? 0 : (busy - this.#busy) / (total - this.#total);
    this.#busy = busy;
    this.#total = total;
    return share * 100;
  }
}
