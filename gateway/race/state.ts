/**
 * What the gateway's stages share: the translation table [212], the services and machines known now, and
 * the clock of expiry.
 */

import type { HoldQueue } from '../../src/device/hold-queue.js';
import { wallMs } from '../../src/device/wall-clock.js';
import { Pins } from '../../src/fastpath/pins.js';
import { AddressMap } from '../../src/flow/address-map.js';
import { ESTABLISHED, idleTicks, OPENING, PINNED } from '../../src/flow/states.js';
import { FlowTable, TICK_US, tickOf } from '../../src/flow/table.js';
import type { PipelineContext } from '../../src/pipeline/pipeline.js';
import { PINNED_FLOWS } from '../../src/pipeline/reasons.js';
import { ORIGIN } from '../../src/proximity/candidates.js';
import { Learned, PREFIX_BITS } from '../../src/proximity/learned.js';
import { type Mode, TRANSLATE, TUNNEL } from '../../src/race/modes.js';
import { Openings } from '../../src/race/openings.js';
import { RaceWriter, RECORDED } from '../../src/race/record.js';
import { type Address, V4_MAPPED } from '../../src/wire/address.js';
import type { SipKey } from '../../src/wire/siphash.js';
import * as tag from '../../src/wire/tag.js';

export { SPOOF, TRANSLATE, TUNNEL } from '../../src/race/modes.js';

export const RACE_ORIGIN = 0;
export const RACE_GATEWAY = 1;
export const RACE_LEARNED = 2;
/** Who sends the copies of a SYN, as the data plane numbers it. */
export type Race = typeof RACE_ORIGIN | typeof RACE_GATEWAY | typeof RACE_LEARNED;

/** What another gateway of the site has measured. */
export interface Seed {
  service: number;
  candidate: number;
  rttUs: number;
  variationUs: number;
}

/** Sides that a packet can come from. */
export const CLIENT = 1;
export const SERVER = 2;

export interface GatewayService {
  address: Address;
  port: number;
  mode: Mode;
  /** Its origin lives and it has replicas: worth a tag. */
  raced: boolean;
}

/** One address and port at which a machine answers for a service. The origin's is the service's own. */
export interface Endpoint {
  service: number;
  candidate: number;
  address: Address;
  port: number;
  /** May still join races; else it only finishes its flows. */
  live: boolean;
  /** 0 … 1. */
  load: number;
}

export interface GatewaySnapshot {
  /** Bits of the candidates that some connections spare, so that they can be compared with others. */
  suspects: number;
  seeds: Seed[];
  race: Race;
  /** By service number, which is never given to another. */
  services: GatewayService[];
  endpoints: Endpoint[];
  /** The largest MSS that leaves room for the tunnel. */
  tunnelMss: number;
  /** The largest packet that the WAN takes. */
  wanMtu: number;
}

export interface GatewayPipelineOptions {
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  /** Whether the kernel may open connections with a learned winner by itself. */
  openings: boolean;
  gatewayId: number;
  keyId: number;
  key: number[];
}

/** Of one tunnel endpoint per (replica, service): the key's port is beyond all real ones. */
export function tunnelPort(service: number): number {
  return 0x10000 + service;
}

/**
 * A path is taken for one that drops tagged SYNs after so many connections in a row that only an untagged
 * SYN opened, and is tried again after a while (ticks of a tenth of a second).
 */
const UNTAGGED_IN_A_ROW = 3;
const TRY_TAGS_AGAIN_TICKS = 6000;

const PREFIX_MASK = -1 << (32 - PREFIX_BITS);

/** Where the times to first byte begin among the gauges. */
export const FIRST_BYTES = 64;

/** Stateless resets per tick of a tenth of a second. */
const LATE_RESETS_PER_TICK = 100;

export class GatewayState {
  readonly flows: FlowTable;
  readonly idle: Int32Array;
  readonly races: RaceWriter;
  readonly gatewayId: number;
  readonly keyId: number;
  readonly key: SipKey;
  nowTick = 0;
  epoch = 0;
  lateResets = 0;
  /** Identification of outer headers that may be fragmented. */
  ipId = 0;

  /** (S, port) → service number. */
  readonly services = new AddressMap();
  serviceAddress = new Int32Array(0);
  serviceWords: Address[] = [];
  servicePort = new Uint16Array(0);
  serviceMode = new Uint8Array(0);
  serviceRaced = new Uint8Array(0);
  /** Bit per candidate that may answer; bit 0 is the origin. */
  serviceLive = new Int32Array(0);

  /** By service number, which lives on through changes of the registry. */
  readonly #untagged: number[] = [];
  readonly #untaggedUntil: number[] = [];

  /** (R, port), (S, port) for origins, (R, tunnelPort) for tunnels → endpoint. */
  readonly endpoints = new AddressMap();
  endpointService = new Int16Array(0);
  endpointCandidate = new Int16Array(0);
  endpointAddress = new Int32Array(0);
  endpointPort = new Uint16Array(0);
  /** By service: the endpoints that may be raced. */
  serviceEndpoints: Int32Array[] = [];
  /** By candidate. */
  loads = new Float64Array(RECORDED);
  race: Race = RACE_ORIGIN;
  suspects = 0;
  readonly learned: Learned;
  readonly hold: HoldQueue;

  tunnelMss = 1440;
  wanMtu = 1500;
  /** The kernel's part in carrying flows, where it has one. */
  readonly pins: Pins | undefined;
  /** Connections that the kernel opens with a learned winner. */
  readonly openings: Openings | undefined;
  /** [0] flows, [1] pinned ones; from {@link FIRST_BYTES} on two words per candidate: first bytes, and µs they took. */
  readonly gauges: Float64Array;
  readonly #mayLease: boolean;
  readonly #sweepBudget: number;

  constructor(context: PipelineContext<GatewayPipelineOptions>) {
    const { flows } = context.options;
    this.flows = FlowTable.seeded(flows.max);
    this.idle = idleTicks(flows, TICK_US / 1000);
    this.races = new RaceWriter(context.races, context.clock);
    this.learned = new Learned(context.learned, context.clock);
    this.hold = context.hold;
    this.gatewayId = context.options.gatewayId;
    this.keyId = context.options.keyId;
    this.key = Int32Array.from(context.options.key);
    this.gauges = context.gauges;
    if (context.pinFds !== undefined)
      this.pins = new Pins(context.pinFds, this.flows, this.idle, context.clock, {
        adopted: (e) => this.#adopt(e),
        firstByte: (e, us) => this.#firstByte(e, us),
      });
    if (context.pinFds !== undefined && context.learned.length > 0)
      this.openings = new Openings(context.pinFds);
    this.#mayLease = context.options.openings;
    // The whole table once in five seconds.
    this.#sweepBudget = Math.ceil(flows.max / 50);
    this.tick(context.clock.nowUs);
  }

  load(s: GatewaySnapshot): void {
    this.race = s.race;
    this.suspects = s.suspects;
    this.tunnelMss = s.tunnelMss;
    this.wanMtu = s.wanMtu;
    this.services.load(s.services.map(({ address, port }, value) => ({ address, port, value })));
    this.serviceAddress = Int32Array.from(s.services, (x) => x.address[3]);
    this.serviceWords = s.services.map((x) => x.address);
    this.servicePort = Uint16Array.from(s.services, (x) => x.port);
    this.serviceMode = Uint8Array.from(s.services, (x) => x.mode);
    this.serviceRaced = Uint8Array.from(s.services, (x) => (x.raced ? 1 : 0));
    const liveBefore = this.serviceLive;
    this.serviceLive = new Int32Array(s.services.length).fill(1 << ORIGIN);
    for (const e of s.endpoints)
      if (e.live && e.candidate < RECORDED) this.serviceLive[e.service] |= 1 << e.candidate;
    this.endpoints.load(
      s.endpoints.map(({ address, port, service, candidate }, value) => {
        const tunnelled = candidate !== ORIGIN && s.services[service].mode === TUNNEL;
        return { address, port: tunnelled ? tunnelPort(service) : port, value };
      }),
    );
    this.endpointService = Int16Array.from(s.endpoints, (e) => e.service);
    this.endpointCandidate = Int16Array.from(s.endpoints, (e) => e.candidate);
    this.endpointAddress = Int32Array.from(s.endpoints, (e) => e.address[3]);
    this.endpointPort = Uint16Array.from(s.endpoints, (e) => e.port);
    this.serviceEndpoints = s.services.map((_, n) =>
      Int32Array.from(
        s.endpoints.flatMap((e, k) => (e.service === n && e.live && e.candidate < RECORDED ? [k] : [])),
      ),
    );
    this.learned.seeds = s.seeds;
    this.loads.fill(0);
    for (const e of s.endpoints) if (e.candidate < RECORDED) this.loads[e.candidate] = e.load;
    if (this.pins === undefined) return;
    this.pins.endpoints(
      s.endpoints.map(({ address, port, service }) => ({
        address,
        port,
        service: s.services[service].address,
        servicePort: s.services[service].port,
        mode: s.services[service].mode,
      })),
    );
    this.pins.adopt();
    if (this.serviceLive.some((bits, n) => bits !== liveBefore[n])) this.openings?.endAll();
  }

  /** The endpoint of a candidate for a service, or -1. */
  endpointOf(service: number, candidate: number): number {
    for (let k = 0; k < this.endpointCandidate.length; k++)
      if (this.endpointService[k] === service && this.endpointCandidate[k] === candidate) return k;
    return -1;
  }

  /** [506–512] The winner's address goes into the entry. */
  decide(e: number, endpoint: number, candidate: number): void {
    const { flows } = this;
    flows.winner[e] = candidate;
    flows.target[e * 4 + 2] = V4_MAPPED;
    if (endpoint >= 0) {
      flows.target[e * 4 + 3] = this.endpointAddress[endpoint];
      flows.targetPort[e] = this.endpointPort[endpoint];
    }
    this.enter(e, OPENING);
  }

  /** SYNs of this client's prefix may go there alone, past this process, for a second. */
  lease(service: number, client: number, candidate: number): void {
    if (!this.#mayLease) return;
    const endpoint = this.endpointOf(service, candidate);
    // Where flows begin on the TUN, the kernel does not know which tuples live.
    if (endpoint < 0 || this.pins?.isLate !== false) return;
    this.openings?.lease(
      client & PREFIX_MASK,
      this.serviceWords[service],
      this.servicePort[service],
      this.endpointAddress[endpoint],
      this.endpointPort[endpoint],
      candidate,
      this.learned.clock.nowUs,
    );
  }

  /** A candidate failed: it must prove itself in a race again. */
  forget(service: number, client: number, candidate: number): void {
    this.learned.forget(this.learned.entry(service, client), candidate);
    this.openings?.end(client & PREFIX_MASK, this.serviceWords[service], this.servicePort[service]);
  }

  /** Who carries a flow that a predecessor pinned: the endpoint that the kernel sends it to. */
  #adopt(e: number): void {
    const { flows } = this;
    const service = this.services.getV4(flows.keyWord(e, 7), flows.keyWord(e, 8) & 0xffff);
    if (service < 0) return;
    const [address, port] = [flows.target[e * 4 + 3], flows.targetPort[e]];
    const own = address === this.serviceAddress[service];
    const tunnelled = !own && this.serviceMode[service] === TUNNEL;
    const endpoint = this.endpoints.getV4(address, tunnelled ? tunnelPort(service) : port);
    if (endpoint >= 0) flows.winner[e] = this.endpointCandidate[endpoint];
  }

  #firstByte(e: number, us: number): void {
    const winner = this.flows.winner[e];
    if (winner < 0 || winner >= RECORDED) return;
    this.gauges[FIRST_BYTES + 2 * winner] += 1;
    this.gauges[FIRST_BYTES + 2 * winner + 1] += us;
  }

  /** One more packet of a flow came through the TUN. */
  pinLate(e: number, service: number): void {
    if (this.flows.state[e] === ESTABLISHED && this.flows.winner[e] >= 0) this.pin(e, service);
  }

  /** A decided flow: from here on the kernel carries it. */
  pin(e: number, service: number): void {
    const { pins, flows } = this;
    if (pins === undefined || (flows.marks[e] & PINNED) !== 0 || !pins.isDue(e)) return;
    pins.pin(e, flows.winner[e] === ORIGIN ? TRANSLATE : (this.serviceMode[service] as Mode));
  }

  tick(nowUs: number): void {
    this.nowTick = tickOf(nowUs);
    this.epoch = tag.epochOf(wallMs() / 1000);
    this.lateResets = LATE_RESETS_PER_TICK;
    this.flows.sweep(this.nowTick, this.#sweepBudget, this.pins?.outlives);
    this.gauges[0] = this.flows.size;
    if (this.pins === undefined) return;
    this.pins.tick();
    this.gauges[PINNED_FLOWS] = this.pins.live;
  }

  /** Notes whether a connection was opened by a SYN that went untagged at last. */
  judgePath(service: number, untagged: boolean): void {
    const row = untagged ? (this.#untagged[service] ?? 0) + 1 : 0;
    this.#untagged[service] = row;
    if (row >= UNTAGGED_IN_A_ROW) this.#untaggedUntil[service] = this.nowTick + TRY_TAGS_AGAIN_TICKS;
  }

  /** Whether the path to this service's origin drops tagged SYNs, as far as is known now. */
  dropsTags(service: number): boolean {
    const until = this.#untaggedUntil[service];
    return until !== undefined && ((until - this.nowTick) | 0) > 0;
  }

  /** Sets the state of a flow and renews its time. */
  enter(e: number, state: number): void {
    this.flows.state[e] = state;
    this.flows.expiresAt[e] = this.nowTick + this.idle[state];
  }
}
