/** How long this host's servers take for an answer, as the connections on local ports show it. */
import { native } from '../device/native.js';

// TCP's state as the kernel numbers it.
const ESTABLISHED = 1;
const LOOK_MS = 100;
/** Waits of which the shortest counts, answers over which the time of one is measured, and how many one look sees at most. */
const LAST_WAITS = 5;
const LAST_ANSWERS = 8;
/** Where answers are rare, those of the last so many ms tell the time of one, however few they are. */
const RARE_MS = 30_000;
const MOST_WAITS = 512;
/** A look may take one part in so many of the time. */
const LEAST_REST = 50;

/**
 * Two figures. The shortest of the last waits: a queue makes single waits long; all of them are long where the host is slow, or
 * full. And the time that an answer takes: how long some client waited, over the answers in that time. That tells how fast the
 * host is, whether a queue stands before it or not.
 */
export class WaitMeter {
  /** The shortest of the last waits, ms; 0 while no wait was seen. What is known stays while no client waits. */
  ms = 0;
  /** The time that an answer takes, ms; 0 until enough were seen. */
  serviceMs = 0;
  readonly #out = new Int32Array(2 * MOST_WAITS);
  /** Waits of clients that got an answer since, ms. */
  readonly #ended: number[] = [];
  /** How long some client has waited in all, ms; and what that was at the ends of the last answers. */
  #busyMs = 0;
  readonly #busyAt: { busyMs: number; nowMs: number }[] = [];
  #lookedAt = 0;
  /** By socket: how long its client had waited when it was last seen, ms. */
  #waiting = new Map<number, number>();
  #timer: NodeJS.Timeout | undefined;

  /** Looks ten times a second; less often where there are so many connections that a look takes long. */
  start(ports: ReadonlySet<number>): void {
    const numbers = Uint16Array.from(ports);
    const look = (): void => {
      const begun = performance.now();
      this.#look(numbers, begun);
      const took = performance.now() - begun;
      this.#timer = setTimeout(look, Math.max(LOOK_MS, took * LEAST_REST));
    };
    if (ports.size > 0) look();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #look(ports: Uint16Array, nowMs: number): void {
    let count: number;
    try {
      count = native.waitingClients(1 << ESTABLISHED, ports, this.#out);
    } catch {
      // A kernel without tcp_diag: no wait is known.
      return;
    }
    const waiting = new Map<number, number>();
    for (let n = 0; n < count; n++) waiting.set(this.#out[2 * n], this.#out[2 * n + 1]);
    this.take(waiting, nowMs);
  }

  /** Takes over one look. @param waiting by socket: how long its client has waited, ms */
  take(waiting: Map<number, number>, nowMs: number): void {
    let hasNews = waiting.size > 0;
    const longest = [...waiting.values()].sort((x, y) => y - x);
    this.#busyMs += Math.min(nowMs - this.#lookedAt, longest[0] ?? 0);
    this.#lookedAt = nowMs;
    for (const [socket, ms] of this.#waiting)
      if ((waiting.get(socket) ?? -1) < ms) {
        this.#ended.push(ms);
        this.#busyAt.push({ busyMs: this.#busyMs, nowMs });
        hasNews = true;
      }
    this.#waiting = waiting;
    this.#ended.splice(0, this.#ended.length - LAST_WAITS);
    this.#busyAt.splice(0, this.#busyAt.length - LAST_ANSWERS - 1);
    const shortest = this.#ended.length < LAST_WAITS ? 0 : Math.min(...this.#ended);
    // Five clients that wait now count as well, because a server that answers no request has no ended waits.
    this.ms = Math.max(shortest, longest[LAST_WAITS - 1] ?? 0);
    // What is known stays while no client waits.
    if (hasNews) this.#measure(waiting.size > 0, nowMs);
  }

  #measure(isBusy: boolean, nowMs: number): void {
    const all = this.#busyAt;
    if (all.length <= LAST_ANSWERS) return;
    const first = all.findIndex((a) => nowMs - a.nowMs < RARE_MS);
    // The end of the answer before the first that counts is where that one began; the last one always counts.
    const from = Math.max(0, (first < 0 ? LAST_ANSWERS : first) - 1);
    const count = LAST_ANSWERS - from;
    const last = all[LAST_ANSWERS].busyMs;
    const each = (last - all[from].busyMs) / count;
    // An answer that is not there yet counts once it has taken longer than the ones before.
    const isLate = isBusy && this.#busyMs - last > each;
    this.serviceMs = isLate ? (this.#busyMs - all[from].busyMs) / (count + 1) : each;
  }
}
