/** Measures d(O,R): probes each replica over UDP and computes the median of a window. */
import { createSocket, type Socket } from 'node:dgram';
import { wallUs } from '../device/wall-clock.js';
import * as probe from '../wire/probe.js';
import type { SipKey } from '../wire/siphash.js';
import { DistanceWindow } from './distance.js';

const INTERVAL_MS = 200;
/** The interval between probes until a window has enough answers. */
const EAGER_MS = 40;
/** A replica that has not answered for this long is not raced, whatever the registry says. */
const SILENT_US = 1_000_000;

interface Target {
  id: string;
  key: SipKey;
  window: DistanceWindow;
  /** When each outstanding probe was sent, by its number modulo 256: by the wall clock, and by the monotonic clock. */
  sentUs: Float64Array;
  begunUs: Float64Array;
  seq: number;
  probedMs: number;
}

export class Prober {
  readonly #targets = new Map<string, Target>();
  #socket: Socket | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param address O, the source address of the probes */
  constructor(readonly address: string) {}

  async start(): Promise<void> {
    const socket = createSocket('udp4');
    this.#socket = socket;
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ address: this.address, port: 0 }, resolve);
    });
    socket.removeAllListeners('error');
    // An unreachable replica does not answer; an ICMP error adds nothing to that.
    socket.on('error', () => {});
    socket.on('message', (bytes, from) => this.#onMessage(bytes, from.address));
    this.#timer = setInterval(() => this.#tick(), EAGER_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** The replicas to probe, by address, each with the key that it knows. */
  setTargets(targets: readonly { id: string; address: string; key: SipKey }[]): void {
    const wanted = new Set(targets.map((t) => t.address));
    for (const address of this.#targets.keys()) if (!wanted.has(address)) this.#targets.delete(address);
    for (const { id, address, key } of targets) {
      const known = this.#targets.get(address);
      if (known !== undefined) Object.assign(known, { id, key });
      else
        this.#targets.set(address, {
          id,
          key,
          window: new DistanceWindow(),
          sentUs: new Float64Array(256),
          begunUs: new Float64Array(256),
          seq: 0,
          probedMs: Number.NEGATIVE_INFINITY,
        });
    }
  }

  /**
   * d(O,R) in µs for a replica that answers; undefined for a replica that does not.
   * @param synchronized whether both clocks are: then the one-way time by timestamps, else half a round trip
   */
  distanceUs(address: string, synchronized = false): number | undefined {
    const target = this.#targets.get(address);
    if (target === undefined || target.window.silenceUs(nowUs()) > SILENT_US) return undefined;
    return synchronized ? target.window.oneWayUs : target.window.distanceUs;
  }

  #tick(): void {
    const now = performance.now();
    for (const [address, target] of this.#targets) {
      const interval = target.window.distanceUs === undefined ? EAGER_MS : INTERVAL_MS;
      if (now - target.probedMs < interval - 1) continue;
      target.probedMs = now;
      target.seq = (target.seq + 1) & 0xffff;
      const sentUs = wallUs();
      target.begunUs[target.seq & 255] = nowUs();
      target.sentUs[target.seq & 255] = sentUs;
      const request = { kind: probe.REQUEST, seq: target.seq, sentUs, receivedUs: 0, repliedUs: 0 } as const;
      this.#socket?.send(probe.encode(request, target.key), probe.PORT, address);
    }
  }

  #onMessage(bytes: Buffer, address: string): void {
    const now = nowUs();
    const target = this.#targets.get(address);
    const reply = target && probe.decode(bytes, target.key);
    if (target === undefined || reply === undefined || reply.kind !== probe.REPLY) return;
    const slot = reply.seq & 255;
    // Accepts one answer per probe, and only to a probe that this process sent.
    if (target.sentUs[slot] === 0 || target.sentUs[slot] !== reply.sentUs) return;
    target.sentUs[slot] = 0;
    const held = Math.max(0, reply.repliedUs - reply.receivedUs);
    target.window.add(Math.max(0, now - target.begunUs[slot] - held), now, reply.receivedUs - reply.sentUs);
  }
}

function nowUs(): number {
  return performance.now() * 1000;
}
