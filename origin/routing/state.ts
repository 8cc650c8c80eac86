/** State that the stages of a service-level router share: virtual hosts, members, routers above, flows. */
import type { Clock } from '../../src/device/clock.js';
import { NarrowPaths, type PathHandles } from '../../src/fastpath/narrow-paths.js';
import { Pins } from '../../src/fastpath/pins.js';
import { AddressMap } from '../../src/flow/address-map.js';
import type { FlowEntry } from '../../src/flow/numbers.js';
import { PrefixTable } from '../../src/flow/prefix-table.js';
import { type FlowTimeouts, idleTicks, isClosing, PINNED } from '../../src/flow/states.js';
import { FlowTable, TICK_US, tickOf } from '../../src/flow/table.js';
import type { Batch } from '../../src/pipeline/batch.js';
import { PathMtus } from '../../src/pipeline/path-mtus.js';
import type { KernelHandles, PipelineContext } from '../../src/pipeline/pipeline.js';
import { defineGauges } from '../../src/pipeline/reasons.js';
import { TunnelIds } from '../../src/pipeline/tunnel.js';
import * as layout from '../../src/routing/kernel-layout.js';
import { type Address, type Prefix, wordMask } from '../../src/wire/address.js';
import { keyFromBytes, type SipKey } from '../../src/wire/siphash.js';
import { NONE, SlrFlows, SURE } from './flows.js';
import { Hosts } from './hosts.js';
import { type HostHandles, KernelHosts } from './kernel-hosts.js';
import { Neighbours } from './neighbours.js';
import { reasons } from './reasons.js';
import { Sequence } from './sequence.js';
import type { MemberNumber, SlrSnapshot } from './snapshot.js';

export const gauges = defineGauges({ flows: 'flows', pinned: 'pinned' });

export interface SlrOptions {
  flows: { max: number } & FlowTimeouts;
  /** The same at all routers of a level: then they choose alike. */
  seed: number;
  /** When this process began, s since 1970. */
  epoch: number;
}

export interface MemberEntry {
  address: Int32Array;
  /** Undefined where tunnels of IPv6 do not reach it. */
  address6: Int32Array | undefined;
  targets: PrefixTable;
  key: SipKey;
  isUsable: boolean;
  /** The sequence numbers of its shortcuts that were seen. */
  seen: Sequence;
  keyText: string;
  targetsText: string;
}

interface UpperEntry {
  address: number;
  address6: Int32Array | undefined;
  key: SipKey;
  keyText: string;
  /** The sequence number of the next shortcut. */
  next: number;
}

/** Answers to packets that are too large, in a tick. */
const TOO_BIGS = 100;

/** How often the router above is told where a flow goes, before this one carries it in the kernel after all. */
const TELLINGS = 3;

/** Values of the column `side` beside routers above: a router of this level, which is told nothing of where the flow goes. */
export const NEIGHBOUR = 255;
/** A member that gives a packet back. */
export const RETURNED = 254;

/** A guess for which no packet has come back from the member for so long, in ticks, is right. */
const SURE_TICKS = 5;
/** Packets a second, and at once, for which another member is tried; and resets that this router sends by itself. */
const SEARCHES = 2000;

export class SlrState {
  readonly flows: SlrFlows;
  readonly idle: Int32Array;
  readonly clock: Clock;
  readonly neighbours: Neighbours;
  /** To targets, by address. */
  readonly paths = new PathMtus();
  /** Answers to packets that are too large, left in this tick. */
  tooBigs = TOO_BIGS;
  readonly batch: Batch;
  readonly tunnelIds = new TunnelIds();
  readonly pins: Pins | undefined;
  nowTick = 0;
  /** This router's address as a word. */
  address = 0;
  /** Its address of IPv6, four words; zeros where it has none. */
  readonly address6 = new Int32Array(4);
  readonly hosts: Hosts;
  readonly members = new Map<MemberNumber, MemberEntry>();
  memberNumbers: MemberNumber[] = [];
  searches = SEARCHES;
  resets = SEARCHES / 10;
  readonly memberAt = new AddressMap<MemberNumber>();
  uppers: UpperEntry[] = [];
  readonly #uppersBySource = new PrefixTable();
  #source = 0;
  #sourceMask = 0;
  readonly #kernelHosts: KernelHosts | undefined;
  readonly #sweepBudget: number;
  readonly #gauges: Float64Array;

  constructor(context: PipelineContext<SlrOptions>) {
    const { flows, seed, epoch } = context.options;
    this.clock = context.clock;
    this.flows = new SlrFlows(flows.max, FlowTable.randomSeed());
    this.hosts = new Hosts(seed | 0);
    this.neighbours = new Neighbours(this.flows, epoch);
    this.batch = context.batch;
    this.idle = idleTicks(flows, TICK_US / 1000);
    this.#sweepBudget = Math.ceil(flows.max / 50);
    this.#gauges = context.gauges;
    if (context.kernel !== undefined) {
      const handles = context.kernel as KernelHandles & Pins['fds'] & PathHandles & HostHandles;
      this.#kernelHosts = new KernelHosts(handles);
      const narrow = new NarrowPaths(handles);
      this.paths.changed = (address, mtu) => narrow.set(address, mtu, this.paths.size);
      const pins = new Pins(handles, this.flows, this.idle, context.clock, {
        adopted: (e) => this.#adopt(e),
      });
      this.pins = pins;
      this.flows.evicting = (e) => pins.release(e);
      this.flows.halfOpen.isConfirmed = (e) => pins.isConfirmed(e);
    }
    this.tick(context.clock.nowUs);
  }

  load(s: SlrSnapshot): void {
    this.address = s.address[3];
    this.address6.set(s.address6 ?? [0, 0, 0, 0]);
    this.#source = s.source.address[3];
    this.#sourceMask = ~wordMask(s.source.bits, 3);
    this.#loadMembers(s);
    this.#loadUppers(s);
    if (s.neighbours !== undefined) this.neighbours.load(s.neighbours);
    this.hosts.load(s);
    this.#kernelHosts?.load(this.hosts, s, this.#sourceMask);
    this.pins?.adopt();
    // Who asks before the first tick must see what was adopted.
    this.#showGauges();
  }

  #loadMembers(s: SlrSnapshot): void {
    const before = new Map(this.members);
    this.members.clear();
    for (const m of s.members) {
      const keyText = m.key.join();
      const known = before.get(m.number);
      const targetsText = JSON.stringify(m.targets);
      this.members.set(m.number, {
        address: Int32Array.from(m.address),
        address6: wordsOf(m.address6),
        targets: known?.targetsText === targetsText ? known.targets : tableOf(m.targets),
        targetsText,
        key: keyFromBytes(Uint8Array.from(m.key)),
        keyText,
        isUsable: m.isUsable,
        // A session has numbers of its own.
        seen: known?.keyText === keyText ? known.seen : new Sequence(),
      });
    }
    this.memberNumbers = [...this.members.keys()].sort((a, b) => a - b);
    const places = s.members.flatMap(({ number, address, address6 }) =>
      [address, address6].flatMap((a) => (a === undefined ? [] : [{ address: a, value: number }])),
    );
    this.memberAt.load(places.map((p) => ({ ...p, port: 0, protocol: 0 })));
  }

  #loadUppers(s: SlrSnapshot): void {
    const before = this.uppers;
    this.uppers = s.uppers.map(({ address, address6, key }) => {
      const keyText = key.join();
      const known = before.find((u) => u.keyText === keyText);
      return {
        address: address[3],
        address6: wordsOf(address6),
        key: keyFromBytes(Uint8Array.from(key)),
        keyText,
        next: known?.next ?? 1,
      };
    });
    const places = s.uppers.flatMap((u, value) => u.sources.map((prefix) => ({ prefix, value })));
    const beside = (s.neighbours?.addresses ?? []).map((address) => ({
      prefix: { address, bits: 128 },
      value: NEIGHBOUR - 1,
    }));
    this.#uppersBySource.load([...places, ...beside]);
  }

  /**
   * One more than the place of the router above that tunnelled packet `i`, {@link NEIGHBOUR} for one of this level, or 0.
   */
  upperOf(batch: Batch, i: number): number {
    return this.#uppersBySource.find(batch.saddr, 4 * i) + 1;
  }

  /** Where tunnels to a member end, in one family; undefined where they do not reach it, and for no member. */
  addressOf(member: MemberNumber, isV4: boolean): Int32Array | undefined {
    const entry = this.members.get(member);
    return isV4 ? entry?.address : entry?.address6;
  }

  /** Whether packet `i` is addressed to this router itself. */
  isOwn(batch: Batch, i: number): boolean {
    if (batch.family[i] === 4) return batch.daddrV4(i) === this.address;
    for (let w = 0; w < 4; w++) if (batch.daddr[4 * i + w] !== this.address6[w]) return false;
    return true;
  }

  /** The outer source for packet `i` of IPv4, as `source_of` in the hooks computes it. */
  sourceOf(batch: Batch, i: number): number {
    if (this.#sourceMask === 0) return this.#source;
    const ports = (swap16(batch.sport[i]) << 16) | swap16(batch.dport[i]);
    const h = Math.imul(swap32(batch.saddrV4(i)) ^ ports, 0x9e3779b1);
    return this.#source | (swap32(h ^ (h >>> 15)) & this.#sourceMask);
  }

  /** Takes an entry for the table's key (`SynFlows.take`). @returns -1 where there is no room */
  take(batch: Batch): FlowEntry {
    return this.flows.take(batch.counters, reasons);
  }

  /** Gives the flow to this member. */
  assign(e: FlowEntry, member: MemberNumber): void {
    const { flows } = this;
    const address = this.addressOf(member, flows.isV4(e));
    if (address === undefined) return;
    flows.member[e] = member;
    flows.isShort[e] = 0;
    for (let w = 0; w < 4; w++) flows.target[4 * e + w] = address[w];
    this.neighbours.tell(e);
  }

  /** The flow goes elsewhere now. */
  readonly moved = (e: FlowEntry): void => {
    this.neighbours.tell(e);
    this.repin(e);
  };

  /** Whether it is sure where the flow goes: it was chosen, or was guessed and no member gives packets back any more. */
  isSure(e: FlowEntry): boolean {
    const { flows } = this;
    if (flows.isGuess[e] === 1 && ((this.nowTick - flows.toldAt[e]) | 0) >= SURE_TICKS) {
      flows.isGuess[e] = SURE;
      flows.tries[e] = 0;
    }
    return flows.isGuess[e] !== 1;
  }

  /** Pins the flow, unless the router above has still to hear where it goes. */
  pin(e: FlowEntry): void {
    const { flows, pins } = this;
    if (flows.isGuess[e] === 1) return;
    if (pins === undefined || (flows.marks[e] & PINNED) !== 0 || isClosing(flows.state[e])) return;
    if (flows.upper[e] !== 0 && flows.told[e] < TELLINGS) return;
    if (pins.isDue(e)) pins.pin(e, layout.TUNNEL);
  }

  /** Writes a changed target of a pinned flow. */
  repin(e: FlowEntry): void {
    if (this.pins === undefined || (this.flows.marks[e] & PINNED) === 0) return this.pin(e);
    this.pins.pin(e, layout.TUNNEL);
  }

  /** A predecessor's flow: its member is the one at whose address it ends, if there is one. */
  #adopt(e: FlowEntry): void {
    const member = this.memberAt.ofWords(this.flows.target, 4 * e, 0, 0);
    this.flows.member[e] = member < 0 ? NONE : member;
    this.flows.isShort[e] = member < 0 ? 1 : 0;
  }

  isUsable(member: MemberNumber): boolean {
    return this.members.get(member)?.isUsable === true;
  }

  tick(nowUs: number): void {
    this.nowTick = tickOf(nowUs);
    this.tooBigs = TOO_BIGS;
    this.searches = Math.min(SEARCHES, this.searches + SEARCHES / 10);
    this.resets = SEARCHES / 10;
    this.paths.sweep(this.nowTick);
    this.neighbours.tick(this.batch, this.address);
    this.flows.sweep(this.nowTick, this.#sweepBudget, this.pins?.outlives);
    this.pins?.tick();
    this.#showGauges();
  }

  #showGauges(): void {
    this.#gauges[gauges.flows] = this.flows.size;
    this.#gauges[gauges.pinned] = this.pins?.live ?? 0;
  }
}

const wordsOf = (address: Address | undefined): Int32Array | undefined =>
  address === undefined ? undefined : Int32Array.from(address);

function tableOf(prefixes: readonly Prefix[]): PrefixTable {
  const table = new PrefixTable();
  table.load(prefixes.map((prefix) => ({ prefix, value: 1 })));
  return table;
}

const swap16 = (x: number): number => ((x & 0xff) << 8) | (x >>> 8);
const swap32 = (x: number): number =>
  ((x & 0xff) << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24);
