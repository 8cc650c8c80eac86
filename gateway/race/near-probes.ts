/**
 * Measures the round trip to every replica in the background, before a connection needs it: a small path probe, which the
 * role on the replica answers (`src/wire/path-probe.ts`), or, where none answers and configuration A allows it, a SYN to
 * the service's port, whose acknowledgement is answered by the exact reset. So a race need ask only the nearest.
 *
 * A machine that is new is probed at once; then each has its turn, at a bounded rate for all together. Probes come from an
 * address of the first client prefix, as those of `path-probes.ts` do.
 */
import type { Clock } from '../../src/device/clock.js';
import type { HoldQueue } from '../../src/device/hold-queue.js';
import type { MachineNumber } from '../../src/flow/numbers.js';
import { TICK_US } from '../../src/flow/table.js';
import { layoutOf } from '../../src/layout.js';
import type { Batch } from '../../src/pipeline/batch.js';
import { ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { MOST_MACHINES } from '../../src/proximity/usage.js';
import { TRANSLATE } from '../../src/race/modes.js';
import { type Address, isV4, V4_MAPPED } from '../../src/wire/address.js';
import { fold, sum } from '../../src/wire/checksum.js';
import * as ip from '../../src/wire/ip.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as ipv6 from '../../src/wire/ipv6.js';
import * as probe from '../../src/wire/path-probe.js';
import { add } from '../../src/wire/sequence.js';
import type { SipKey } from '../../src/wire/siphash.js';
import * as tcp from '../../src/wire/tcp.js';
import type { Endpoint, GatewayService } from './machines.js';
import { PROBE } from './path-probes.js';
import { reasons } from './reasons.js';

/** How the gateway probes, as the control plane orders it. */
export interface NearOrder {
  perSecond: number;
  udp: boolean;
  syn: boolean;
  /** The least time between two probes of one machine, in ticks: of more gateways each asks it less often. */
  pauseTicks: number;
}
export const NO_PROBES: NearOrder = { perSecond: 0, udp: false, syn: false, pauseTicks: 1 };

/** From where the gateway probes: an address of each family, where it has clients of it. */
export interface ProbeSource {
  /** As a word; 0 for none. */
  v4: number;
  v6: Address | undefined;
}

/** What is known of one machine, in doubles of shared memory. */
export const near = layoutOf({
  /** The least of its last answers' times; 0 while none came. */
  rttUs: 1,
  /** Probes since its last answer. */
  silent: 1,
  /** {@link BY_UDP} or {@link BY_SYN}: how it was measured; 0 for neither. */
  method: 1,
});
export const nearBytes = MOST_MACHINES * near.stride * 8;
export const BY_UDP = 1;
export const BY_SYN = 2;

/** For status: how a machine was measured, and how many probes it has not answered since. */
export function probedBy(
  memory: Float64Array,
  machine: MachineNumber,
): { probe: 'udp' | 'syn' | null; unanswered: number } {
  const at = machine * near.stride;
  const method = memory[at + near.method];
  return {
    probe: method === BY_UDP ? 'udp' : method === BY_SYN ? 'syn' : null,
    unanswered: memory[at + near.silent],
  };
}

/** Answers whose least time counts: one late answer says nothing, and a path that became longer shows in three rounds. */
const KEPT = 3;
/** Machines that are probed for the first time: so many in a tick of a tenth of a second. */
const FRESH_PER_TICK = 100;
/** A machine that has not answered its first probes within this time is probed again. */
const SECOND_TICKS = 15;
/** Of a machine that answered SYNs only, one probe in so many tries whether its role has been started. */
const UDP_AGAIN = 16;
/** One that has answered its first probe is asked again after this time. */
const SOON_TICKS = 3;
/** A silent machine is probed more rarely, up to this many times. */
const MOST_PAUSES = 8;
/** Only a time that fell by more is news to what SYNs have told. */
const NEWS_US = 1000;
/** In a probe's number: not one of `path-probes.ts`. */
const NEAR = 1 << 31;
/** Source ports of SYNs: from here on, so many. */
const PORTS_FROM = 0xc000;
const PORTS = 0x3fff;
const TTL = 64;
/** A probe's source and destination over IPv6. */
const ends = new Int32Array(8);

export class NearProbes {
  /** Told when a machine is nearer than was known. */
  nearer: (machine: MachineNumber, rttUs: number) => void = () => {};
  #order = NO_PROBES;
  #source = 0;
  #source6: Address | undefined;
  /** Those that are probed, in turn. */
  #list = new Int32Array(0);
  #hand = 0;
  /** Rate of the turn, in probes of a tick; what is left of it. */
  #credit = 0;
  /** Machines that were not probed yet; and those that were once, each with the tick. */
  #fresh: number[] = [];
  #second: number[] = [];
  /** By machine. */
  readonly #isListed = new Uint8Array(MOST_MACHINES);
  /** Four words each. */
  readonly #address = new Int32Array(4 * MOST_MACHINES);
  readonly #port = new Uint16Array(MOST_MACHINES);
  readonly #maySyn = new Uint8Array(MOST_MACHINES);
  readonly #nextTick = new Int32Array(MOST_MACHINES);
  readonly #round = new Uint8Array(MOST_MACHINES);
  /** {@link BY_UDP} or {@link BY_SYN} while an answer is waited for. */
  readonly #open = new Uint8Array(MOST_MACHINES);
  readonly #sentUs = new Float64Array(MOST_MACHINES);
  readonly #isn = new Int32Array(MOST_MACHINES);
  readonly #times = new Float64Array(MOST_MACHINES * KEPT);
  readonly #count = new Uint32Array(MOST_MACHINES);
  /** Keys that are shared with a machine; the gateway's own is used for the others. */
  readonly #keys = new Map<number, { id: number; key: SipKey }>();

  readonly #packet = new Uint8Array(64 + 128);
  readonly #view = new DataView(this.#packet.buffer);
  readonly #request: probe.Request;
  #seed = (Math.random() * 2 ** 32) | 0;

  constructor(
    readonly key: SipKey,
    gatewayId: number,
    readonly keyId: number,
    readonly hold: HoldQueue,
    readonly clock: Clock,
    readonly memory: Float64Array,
  ) {
    this.#request = {
      ...{ source: 0, destination: 0, sport: probe.PORT, length: probe.LEAST, replyLength: probe.LEAST },
      ...{ form: probe.PLAIN, number: 0, gatewayId, keyId, isPaired: false },
    };
  }

  /** @param source addresses of this gateway's clients, from which it probes */
  load(
    services: readonly GatewayService[],
    endpoints: readonly Endpoint[],
    source: ProbeSource,
    order: NearOrder,
  ): void {
    this.#order = order;
    this.#source = source.v4;
    this.#source6 = source.v6;
    const before = this.#isListed.slice();
    this.#isListed.fill(0);
    const list: number[] = [];
    const asked = order.perSecond > 0 ? endpoints.filter((e) => e.machine !== ORIGIN_MACHINE && e.live) : [];
    // A machine that has both addresses is measured over IPv4, and one of several services by what allows SYNs.
    for (const e of [...asked.filter((x) => isV4(x.address)), ...asked.filter((x) => !isV4(x.address))]) {
      const { machine } = e;
      const isV6 = !isV4(e.address);
      const isTranslated = services[e.service].mode === TRANSLATE;
      const mayProbe = isV6 ? this.#source6 !== undefined && isTranslated : this.#source !== 0;
      const isKnown = this.#isListed[machine] !== 0;
      if (!mayProbe || (isKnown && (isV6 || !isTranslated))) continue;
      const hasMoved = this.#take(e, isTranslated && order.syn);
      if (!isKnown) list.push(machine);
      this.#isListed[machine] = 1;
      if (hasMoved) before[machine] = 0;
    }
    this.#list = Int32Array.from(list);
    if (this.#hand >= list.length) this.#hand = 0;
    this.#fresh = this.#fresh.filter((m) => this.#isListed[m] !== 0 && before[m] !== 0);
    for (const m of list) if (before[m] === 0) this.#fresh.push(m);
  }

  /** @returns whether the machine is new here, or has moved */
  #take({ machine, address, port, key }: Endpoint, maySyn: boolean): boolean {
    const words = 4 * machine;
    const isNew = address.some((word, w) => this.#address[words + w] !== word);
    if (isNew) {
      for (let w = 0; w < 4; w++) this.#address[words + w] = address[w];
      this.memory.fill(0, machine * near.stride, (machine + 1) * near.stride);
      this.#count[machine] = 0;
      this.#open[machine] = 0;
    }
    this.#port[machine] = port;
    this.#maySyn[machine] = maySyn ? 1 : 0;
    if (key === undefined) this.#keys.delete(machine);
    else this.#keys.set(machine, { id: key.id, key: Int32Array.from(key.words) });
    return isNew;
  }

  #isV6(machine: number): boolean {
    return this.#address[4 * machine + 2] !== V4_MAPPED;
  }

  /** A machine's round trip in whole µs; 0 while it is not known. */
  rttUs(machine: MachineNumber): number {
    return machine <= 0 || this.memory.length === 0 ? 0 : this.memory[machine * near.stride + near.rttUs];
  }

  /** Sends the probes whose time has come. */
  tick(nowTick: number): void {
    const { perSecond, pauseTicks } = this.#order;
    if (perSecond === 0) return;
    for (let k = 0; k < FRESH_PER_TICK && this.#fresh.length > 0; k++) {
      const machine = this.#fresh.pop()!;
      if (this.#isListed[machine] === 0) continue;
      this.#send(machine);
      this.#nextTick[machine] = nowTick + pauseTicks;
      this.#second.push(machine, nowTick);
    }
    this.#askOtherwise(nowTick);
    this.#credit = Math.min(this.#credit + (perSecond * TICK_US) / 1e6, Math.max(1, perSecond / 5));
    const { length } = this.#list;
    for (let k = 0; k < length && this.#credit >= 1 && k < 4 * FRESH_PER_TICK; k++) {
      const machine = this.#list[this.#hand];
      if (((nowTick - this.#nextTick[machine]) | 0) < 0 && this.#round[machine] !== 0) {
        // The next ones were probed later still, unless machines have come or gone.
        this.#hand = this.#hand + 1 < length ? this.#hand + 1 : 0;
        continue;
      }
      this.#hand = this.#hand + 1 < length ? this.#hand + 1 : 0;
      this.#credit--;
      this.#send(machine);
      const silent = this.memory[machine * near.stride + near.silent];
      this.#nextTick[machine] = nowTick + pauseTicks * Math.min(MOST_PAUSES, 1 + silent);
    }
  }

  /** Each machine is asked a second time soon; one that has not answered yet again, and in the other way. */
  #askOtherwise(nowTick: number): void {
    const due = this.#second;
    if (due.length === 0) return;
    this.#second = [];
    for (let k = 0; k < due.length; k += 2) {
      const machine = due[k];
      if (this.#isListed[machine] === 0 || this.#count[machine] > 1) continue;
      // One that has answered is asked once more, soon: the first answer may have waited here.
      const waitTicks = this.#count[machine] > 0 ? SOON_TICKS : SECOND_TICKS;
      if (((nowTick - due[k + 1]) | 0) < waitTicks) {
        this.#second.push(machine, due[k + 1]);
        continue;
      }
      this.#send(machine);
      const isSilent = this.#count[machine] === 0 && this.memory[machine * near.stride + near.silent] < 2;
      if (isSilent) this.#second.push(machine, nowTick);
    }
  }

  #send(machine: number): void {
    const at = machine * near.stride;
    if (this.#open[machine] !== 0) this.memory[at + near.silent]++;
    const how = this.#howFor(machine);
    if (how === 0) return;
    this.#round[machine] = (this.#round[machine] % 255) + 1;
    this.#open[machine] = how;
    this.#sentUs[machine] = this.clock.nowUs;
    const length = how === BY_UDP ? this.#putProbe(machine) : this.#putSyn(machine);
    this.hold.pushIn(this.#packet, 64, length, this.clock, 0, PROBE);
  }

  /** As before where that was answered; else by turns: one probe may have been lost. */
  #howFor(machine: number): number {
    const mayUdp = this.#order.udp && !this.#isV6(machine);
    const maySyn = this.#maySyn[machine] !== 0;
    if (!mayUdp || !maySyn) return mayUdp ? BY_UDP : maySyn ? BY_SYN : 0;
    const at = machine * near.stride;
    const silent = this.memory[at + near.silent];
    const known = this.memory[at + near.method];
    // From time to time the better way is tried again.
    if (known === BY_SYN && this.#round[machine] % UDP_AGAIN === 0) return BY_UDP;
    if (known !== 0 && silent < KEPT) return known;
    return silent % 3 < 2 ? BY_UDP : BY_SYN;
  }

  #putProbe(machine: number): number {
    const paired = this.#keys.get(machine);
    const r = this.#request;
    r.source = this.#source;
    r.destination = this.#address[4 * machine + 3];
    r.number = NEAR | (machine << 8) | this.#round[machine];
    r.isPaired = paired !== undefined;
    r.keyId = paired === undefined ? this.keyId : paired.id;
    this.#packet.fill(0);
    probe.writeRequest(this.#view, 64, r, paired === undefined ? this.key : paired.key);
    return r.length;
  }

  #putSyn(machine: number): number {
    const view = this.#view;
    this.#seed = Math.imul(this.#seed ^ (this.#seed >>> 15), 0x2c1b3c6d) + 0x6d2b79f5;
    this.#isn[machine] = this.#seed;
    const sport = PORTS_FROM | ((this.#seed >>> 8) & PORTS);
    this.#packet.fill(0);
    const header = this.#isV6(machine) ? ipv6.HEADER : ipv4.MIN_HEADER;
    const length = header + tcp.MIN_HEADER;
    if (header === ipv6.HEADER) {
      for (let w = 0; w < 4; w++) {
        ends[w] = this.#source6![w];
        ends[4 + w] = this.#address[4 * machine + w];
      }
      ipv6.write(view, 64, 0, length, TTL, ipv4.PROTO_TCP, ends, 0, 4);
    } else {
      const destination = this.#address[4 * machine + 3];
      ipv4.write(view, 64, 0, length, 0, true, TTL, ipv4.PROTO_TCP, this.#source, destination);
    }
    const t = 64 + header;
    tcp.write(view, t, sport, this.#port[machine], this.#seed, 0, tcp.SYN);
    const pseudo = ip.pseudoHeader(view, 64, ipv4.PROTO_TCP, tcp.MIN_HEADER);
    tcp.setCheck(view, t, ~fold(sum(view, t, tcp.MIN_HEADER, pseudo)) & 0xffff);
    return length;
  }

  /** Takes packet `i`, the answer to a probe whose payload is at `p`; the packet is decided. */
  answered(batch: Batch, i: number, p: number, isCatchingUp: boolean): void {
    const { view } = batch;
    const number = probe.number(view, p) & ~NEAR;
    const machine = number >>> 8;
    const paired = this.#keys.get(machine);
    const isOurs =
      machine < MOST_MACHINES &&
      this.#open[machine] === BY_UDP &&
      !this.#isV6(machine) &&
      this.#address[4 * machine + 3] === batch.saddrV4(i) &&
      (number & 0xff) === this.#round[machine] &&
      probe.isPaired(view, p) === (paired !== undefined) &&
      probe.isAuthentic(view, p, paired === undefined ? this.key : paired.key);
    if (!isOurs) return batch.drop(i, reasons.dropProbe);
    batch.drop(i, reasons.dropProbeAnswer);
    this.#note(machine, BY_UDP, isCatchingUp);
  }

  /**
   * Takes the acknowledgement of a SYN that was sent to a machine as a probe. Requires that no flow has its tuple.
   * @returns whether it is one; then the caller resets it
   */
  acknowledged(batch: Batch, i: number, machine: MachineNumber, isCatchingUp: boolean): boolean {
    const isOurs =
      machine > 0 &&
      this.#open[machine] === BY_SYN &&
      this.#isToSource(batch, i) &&
      tcp.ackSeq(batch.view, batch.l4[i]) === add(this.#isn[machine], 1);
    if (isOurs) this.#note(machine, BY_SYN, isCatchingUp);
    return isOurs;
  }

  #isToSource(batch: Batch, i: number): boolean {
    if (batch.family[i] === 4) return batch.daddrV4(i) === this.#source;
    const source = this.#source6;
    if (source === undefined) return false;
    for (let w = 0; w < 4; w++) if (batch.daddr[4 * i + w] !== source[w]) return false;
    return true;
  }

  #note(machine: number, method: number, isCatchingUp: boolean): void {
    const at = machine * near.stride;
    const { memory } = this;
    this.#open[machine] = 0;
    memory[at + near.silent] = 0;
    // What waited while this process was stuck tells nothing of the path.
    if (isCatchingUp) {
      if (memory[at + near.rttUs] === 0) this.#fresh.push(machine);
      return;
    }
    if (memory[at + near.method] !== method) this.#count[machine] = 0;
    memory[at + near.method] = method;
    const times = machine * KEPT;
    this.#times[times + (this.#count[machine]++ % KEPT)] = this.clock.nowUs - this.#sentUs[machine];
    let least = this.#times[times];
    const kept = Math.min(KEPT, this.#count[machine]);
    for (let k = 1; k < kept; k++) least = Math.min(least, this.#times[times + k]);
    const before = memory[at + near.rttUs];
    memory[at + near.rttUs] = Math.max(1, Math.round(least));
    if (before === 0 || before - least > NEWS_US) this.nearer(machine as MachineNumber, Math.round(least));
  }
}
