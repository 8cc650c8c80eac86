/**
 * The WAN emulator: reads packets from one device per host, holds each for the delay of its path, and writes it back
 * to the device that it came from. Packets leave in the order of their due times across all paths, and within a path
 * in the order in which they came, even with jitter, unless the path has `reorder`.
 *
 * It reads only addresses and lengths, and TCP flags while a one-off waits for a SYN; it writes packets back unchanged,
 * virtio header included.
 */
import type { Clock } from '../device/clock.js';
import type { Device } from '../device/device.js';
import { type HoldClass, HoldQueue } from '../device/hold-queue.js';
import { type Prefix, parsePrefix, wordMask } from '../wire/address.js';
import { FARM, machineAddress } from './farm.js';
import { CLIENT_PREFIX } from './network.js';
import type { PathOptions } from './topology.js';

/** What happens to one packet, once. */
export interface OneOff {
  /** "from>to" */
  path: string;
  /** The next packet; or the next SYN of a client, or the acknowledgement of one. A gateway's own probes do not count. */
  next: 'packet' | 'syn';
  /** It is late by so much; 'dropped': it is lost. Packets behind it do not wait for it. */
  what: { lateMs: number } | 'dropped';
}

/** The laboratory's settings for the emulator; written by `Wan`, and read again at SIGHUP. */
export interface WanPlan {
  /** Counts the changes, so that a writer can wait until its change is applied. */
  generation: number;
  seed: number;
  hosts: { name: string; prefixes: string[] }[];
  /** The farm's machines, m1 … mN; 0 where there is none. */
  machines?: number;
  /** By "from>to", one for each ordered pair of hosts, and from and to each machine of the farm. */
  paths: Record<string, PathOptions & { delayMs: number }>;
  /** By host: added to the delay of every packet to it. */
  linesMs?: Record<string, number>;
  /** Where it is given, it replaces what has not happened yet; left out, that stays. */
  once?: OneOff[];
}

export interface WanStatistics {
  packets: number;
  /** The outcomes of packets: these six, and the packets still held, add up to `packets`. */
  released: number;
  lost: number;
  queueFull: number;
  holdFull: number;
  unroutable: number;
  writeErrors: number;
  held: number;
  /** Packets to which a {@link OneOff} happened. */
  struck: number;
  /** How late packets were written. */
  latenessUs: { p50: number; p95: number; max: number };
}

/**
 * Slots for packets of one TCP segment at most, and for super-packets: about 170 MB, of which only used pages are
 * touched.
 */
export const HOLD_CLASSES: HoldClass[] = [
  { slotBytes: 2048, slots: 16_384 },
  { slotBytes: 66 * 1024, slots: 2048 },
];

const BATCH = 64;
const READ_SLOT = 66 * 1024;
const LATENESS_STEP_US = 10;
const DEFAULT_QUEUE_MS = 200;

/** A line with a queue that has ended is half used: the queue shrinks by this share of the time. */
const DRAINED = 0.5;

export class Emulator {
  readonly #queue: HoldQueue;
  readonly #hosts: number;

  // Prefixes with their hosts, the longest prefix first.
  #networks = new Int32Array(0);
  #masks = new Int32Array(0);
  #networkHosts = new Int32Array(0);

  #networks6: { prefix: Prefix; host: number }[] = [];

  // The farm: machine k has the address #firstMachine + k, and is behind host #farm.
  readonly #machines: number;
  readonly #farm: number;
  readonly #firstMachine = wordOf(machineAddress('m1'));

  // Per path: ingress * hosts + egress; behind these, two for each machine and host (`#machinePath`).
  readonly #delayUs: Float64Array;
  readonly #jitterUs: Float64Array;
  readonly #loss: Float64Array;
  readonly #usPerByte: Float64Array;
  readonly #queueUs: Float64Array;
  readonly #reorder: Uint8Array;
  readonly #linkFreeUs: Float64Array;
  readonly #lastDueUs: Float64Array;

  readonly #arena = new Uint8Array(BATCH * (READ_SLOT + 64));
  readonly #view = new DataView(this.#arena.buffer);
  readonly #at = new Int32Array(BATCH);
  readonly #lengths = new Int32Array(BATCH);

  readonly #outIndex = new Int32Array(BATCH);
  readonly #outAt = new Int32Array(BATCH);
  readonly #outLengths = new Int32Array(BATCH);

  /** Per egress host: how long a packet waits on its line; how long one did before that was less, and since when it is. */
  readonly #lineUs: Float64Array;
  readonly #lineWasUs: Float64Array;
  readonly #lineSinceUs: Float64Array;
  /** By path. */
  readonly #once = new Map<number, OneOff>();
  #struck = 0;

  readonly #random = new Int32Array(1);
  readonly #counts = { packets: 0, released: 0, lost: 0, queueFull: 0, holdFull: 0, unroutable: 0 };
  #writeErrors = 0;
  readonly #lateness = new Uint32Array(4000);
  #latenessMaxUs = 0;

  /** @param devices one per host of the plan, in its order */
  constructor(
    readonly devices: Device[],
    plan: WanPlan,
    readonly clock: Clock,
    classes: HoldClass[] = HOLD_CLASSES,
  ) {
    this.#queue = new HoldQueue(classes);
    this.#hosts = plan.hosts.length;
    this.#machines = plan.machines ?? 0;
    this.#farm = plan.hosts.findIndex((host) => host.name === FARM);
    this.#lineUs = new Float64Array(this.#hosts);
    this.#lineWasUs = new Float64Array(this.#hosts);
    this.#lineSinceUs = new Float64Array(this.#hosts);
    const paths = this.#hosts * this.#hosts + this.#machines * this.#hosts * 2;
    this.#delayUs = new Float64Array(paths);
    this.#jitterUs = new Float64Array(paths);
    this.#loss = new Float64Array(paths);
    this.#usPerByte = new Float64Array(paths);
    this.#queueUs = new Float64Array(paths);
    this.#reorder = new Uint8Array(paths);
    this.#linkFreeUs = new Float64Array(paths);
    this.#lastDueUs = new Float64Array(paths);
    for (let i = 0; i < BATCH; i++) this.#at[i] = i * (READ_SLOT + 64) + 64;
    // xorshift32 stays at 0 for ever if it starts there.
    this.#random[0] = plan.seed | 0 || 1;
    this.apply(plan);
  }

  /** Takes over a changed plan with the same hosts. Held packets keep their due times. */
  apply(plan: WanPlan): void {
    if (plan.once !== undefined) this.#once.clear();
    const rows: [number, number, number][] = [];
    this.#networks6 = plan.hosts.flatMap((host, n) =>
      host.prefixes
        .filter((p) => p.includes(':'))
        .map((p) => ({ prefix: parsePrefix(p) as Prefix, host: n }))
        .sort((a, b) => b.prefix.bits - a.prefix.bits),
    );
    plan.hosts.forEach((host, n) => {
      for (const prefix of host.prefixes.filter((p) => !p.includes(':'))) {
        const [address, bits] = prefix.split('/');
        const mask = Number(bits) === 0 ? 0 : -1 << (32 - Number(bits));
        rows.push([wordOf(address) & mask, mask, n]);
      }
    });
    rows.sort((a, b) => (b[1] >>> 0) - (a[1] >>> 0));
    this.#networks = Int32Array.from(rows, (r) => r[0]);
    this.#masks = Int32Array.from(rows, (r) => r[1]);
    this.#networkHosts = Int32Array.from(rows, (r) => r[2]);
    plan.hosts.forEach((from, i) => {
      this.#setLine(i, (plan.linesMs?.[from.name] ?? 0) * 1000);
      plan.hosts.forEach((to, j) => {
        this.#setPath(i * this.#hosts + j, plan, `${from.name}>${to.name}`);
      });
      for (let k = 0; k < this.#machines; k++) {
        this.#setPath(this.#machinePath(k, i, false), plan, `${from.name}>m${k + 1}`);
        this.#setPath(this.#machinePath(k, i, true), plan, `m${k + 1}>${from.name}`);
      }
    });
  }

  #setPath(p: number, plan: WanPlan, name: string): void {
    const path = plan.paths[name];
    const delayUs = (path?.delayMs ?? 0) * 1000;
    // A path with a new, shorter delay must not wait for packets that are held for its former, longer delay.
    if (delayUs !== this.#delayUs[p]) this.#lastDueUs[p] = 0;
    this.#delayUs[p] = delayUs;
    this.#jitterUs[p] = (path?.jitterMs ?? 0) * 1000;
    this.#loss[p] = (path?.lossPct ?? 0) / 100;
    this.#usPerByte[p] = path?.rateMbit === undefined ? 0 : 8 / path.rateMbit;
    this.#queueUs[p] = (path?.queueMs ?? DEFAULT_QUEUE_MS) * 1000;
    this.#reorder[p] = path?.reorder ? 1 : 0;
    for (const oneOff of plan.once ?? []) if (oneOff.path === name) this.#once.set(p, oneOff);
  }

  /** The path between a machine of the farm and another host. @param sends whether the machine sends */
  #machinePath(machine: number, host: number, sends: boolean): number {
    return this.#hosts * this.#hosts + (machine * this.#hosts + host) * 2 + (sends ? 1 : 0);
  }

  /** The path of an IPv4 packet. On the farm's legs the machine's address decides; its host's own address has none. */
  #pathOf(ingress: number, egress: number, at: number): number {
    const sends = ingress === this.#farm;
    if (sends || egress === this.#farm) {
      const machine = this.#view.getInt32(at + (sends ? 12 : 16)) - this.#firstMachine;
      if (machine >= 0 && machine < this.#machines)
        return this.#machinePath(machine, sends ? egress : ingress, sends);
    }
    return ingress * this.#hosts + egress;
  }

  /** Infinity when no packet is held. */
  get nextDueUs(): number {
    return this.#queue.nextDueUs;
  }

  /** Reads one batch at most from host n's device; the device calls again if there are more packets. */
  receive(n: number): void {
    const count = this.devices[n].readBatch(this.#arena, this.#at, this.#lengths, BATCH, READ_SLOT);
    this.clock.update();
    for (let i = 0; i < count; i++) this.#hold(n, this.#at[i], this.#lengths[i]);
  }

  #hold(ingress: number, at: number, length: number): void {
    const counts = this.#counts;
    counts.packets++;
    const version = this.#arena[at] >> 4;
    // The kernel sends some multicast packets through every device.
    if (length < 20 || !(version === 4 || (version === 6 && length >= 40 && this.#arena[at + 24] !== 0xff))) {
      counts.unroutable++;
      return;
    }
    const egress = version === 4 ? this.#hostOf(this.#view.getInt32(at + 16)) : this.#hostOf6(at + 24);
    // A packet to an unknown host, or to the host that it came from, goes back to the kernel at once, which forwards
    // it or sends an error.
    let dueUs = this.clock.nowUs;
    if (egress >= 0) {
      const p = version === 4 ? this.#pathOf(ingress, egress, at) : ingress * this.#hosts + egress;
      const oneOff = this.#once.size === 0 ? undefined : this.#oneOff(p, at);
      if (oneOff?.what === 'dropped') {
        counts.lost++;
        return;
      }
      if (this.#loss[p] > 0 && this.#uniform() < this.#loss[p]) {
        counts.lost++;
        return;
      }
      if (this.#usPerByte[p] > 0) {
        const startUs = Math.max(dueUs, this.#linkFreeUs[p]);
        if (startUs - dueUs > this.#queueUs[p]) {
          counts.queueFull++;
          return;
        }
        dueUs = this.#linkFreeUs[p] = startUs + length * this.#usPerByte[p];
      }
      dueUs += this.#delayUs[p];
      if (this.#jitterUs[p] > 0) dueUs += this.#uniform() * this.#jitterUs[p];
      dueUs += this.#waitUs(egress, dueUs);
      if (oneOff !== undefined) dueUs += (oneOff.what as { lateMs: number }).lateMs * 1000;
      else if (this.#reorder[p] === 0) {
        dueUs = Math.max(dueUs, this.#lastDueUs[p]);
        this.#lastDueUs[p] = dueUs;
      }
    }
    if (this.#queue.push(this.#arena, at, length, dueUs, ingress) < 0) counts.holdFull++;
  }

  #setLine(host: number, us: number): void {
    if (us === this.#lineUs[host]) return;
    this.#lineWasUs[host] = this.#waitUs(host, this.clock.nowUs);
    this.#lineSinceUs[host] = this.clock.nowUs;
    this.#lineUs[host] = us;
  }

  /** How long a packet that comes to a host's line at this time waits there. A queue is emptied in its order. */
  #waitUs(host: number, atUs: number): number {
    const drainedUs = DRAINED * Math.max(0, atUs - this.#lineSinceUs[host]);
    return Math.max(this.#lineUs[host], this.#lineWasUs[host] - drainedUs);
  }

  /** What happens to this packet alone. Looked up only while there is anything that has not happened yet. */
  #oneOff(p: number, at: number): OneOff | undefined {
    const found = this.#once.get(p);
    if (found === undefined || (found.next === 'syn' && !this.#isSyn(at))) return undefined;
    this.#once.delete(p);
    this.#struck++;
    return found;
  }

  /** A gateway probes from the first address of its clients' prefix, which no client has. */
  #isSyn(at: number): boolean {
    const isTcp = this.#arena[at] >> 4 === 4 && this.#arena[at + 9] === 6;
    const isProbe = [12, 16].some((k) => this.#view.getInt32(at + k) === PROBER);
    return isTcp && !isProbe && (this.#arena[at + (this.#arena[at] & 15) * 4 + 13] & 2) !== 0;
  }

  #hostOf(daddr: number): number {
    for (let i = 0; i < this.#networks.length; i++) {
      if ((daddr & this.#masks[i]) === this.#networks[i]) return this.#networkHosts[i];
    }
    return -1;
  }

  #hostOf6(daddr: number): number {
    for (let i = 0; i < this.#networks6.length; i++) {
      const { address, bits } = this.#networks6[i].prefix;
      // Prefixes of this WAN are of 64 bits at most.
      const high = ((this.#view.getInt32(daddr) ^ address[0]) & wordMask(bits, 0)) === 0;
      const low = ((this.#view.getInt32(daddr + 4) ^ address[1]) & wordMask(bits, 1)) === 0;
      if (high && low) return this.#networks6[i].host;
    }
    return -1;
  }

  /** Writes every packet that is due, in runs for one device, and then packets that have become due meanwhile. */
  release(): void {
    const queue = this.#queue;
    let count = 0;
    let device = -1;
    for (;;) {
      this.clock.update();
      const nowUs = this.clock.nowUs;
      let i: number;
      while ((i = queue.pop(nowUs)) >= 0) {
        if (count === BATCH || (count > 0 && queue.metaOf(i) !== device)) {
          this.#write(device, count);
          count = 0;
        }
        device = queue.metaOf(i);
        this.#note(nowUs - queue.dueUs(i));
        this.#outIndex[count] = i;
        this.#outAt[count] = queue.at(i);
        this.#outLengths[count] = queue.lengthOf(i);
        count++;
      }
      if (count === 0) return;
      this.#write(device, count);
      count = 0;
    }
  }

  #write(device: number, count: number): void {
    const written = this.devices[device].writeBatch(this.#queue.arena, this.#outAt, this.#outLengths, count);
    this.#counts.released += written;
    this.#writeErrors += count - written;
    for (let i = 0; i < count; i++) this.#queue.free(this.#outIndex[i]);
  }

  #note(latenessUs: number): void {
    const bucket = Math.min(this.#lateness.length - 1, Math.floor(latenessUs / LATENESS_STEP_US));
    this.#lateness[bucket]++;
    if (latenessUs > this.#latenessMaxUs) this.#latenessMaxUs = latenessUs;
  }

  // xorshift32 (Marsaglia): good enough to choose lost packets, and the same for the same seed.
  #uniform(): number {
    let x = this.#random[0];
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random[0] = x;
    return (x >>> 0) / 0x1_0000_0000;
  }

  statistics(): WanStatistics {
    return {
      ...this.#counts,
      writeErrors: this.#writeErrors,
      held: this.#queue.size,
      struck: this.#struck,
      latenessUs: {
        p50: this.#quantile(0.5),
        p95: this.#quantile(0.95),
        max: Math.round(this.#latenessMaxUs),
      },
    };
  }

  #quantile(q: number): number {
    const total = this.#lateness.reduce((a, b) => a + b, 0);
    let seen = 0;
    for (let b = 0; b < this.#lateness.length; b++) {
      seen += this.#lateness[b];
      if (seen >= total * q) return total === 0 ? 0 : (b + 1) * LATENESS_STEP_US;
    }
    return this.#lateness.length * LATENESS_STEP_US;
  }
}

/** An IPv4 address as the word that `getInt32` reads. */
const wordOf = (address: string): number =>
  address.split('.').reduce((word, byte) => (word << 8) | Number(byte), 0);

const PROBER = wordOf(CLIENT_PREFIX.split('/')[0]);
