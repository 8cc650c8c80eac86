/**
 * State that the gateway's stages share: the translation table, the present services and machines, what was learned,
 * and the clock for expiry.
 */
import type { Clock } from '../../src/device/clock.js';
import type { HoldQueue } from '../../src/device/hold-queue.js';
import { wallMs } from '../../src/device/wall-clock.js';
import {
  type CandidateNumber,
  type EndpointNumber,
  type FlowEntry,
  type MachineNumber,
  NO_SERVICE,
  type ServiceNumber,
} from '../../src/flow/numbers.js';
import { idleTicks, OPENING, UNDECIDED } from '../../src/flow/states.js';
import { FlowTable, TICK_US, tickOf } from '../../src/flow/table.js';
import { type Batch, forgetFlow } from '../../src/pipeline/batch.js';
import { PathMtus } from '../../src/pipeline/path-mtus.js';
import type { PipelineContext } from '../../src/pipeline/pipeline.js';
import { TunnelIds } from '../../src/pipeline/tunnel.js';
import { Learned } from '../../src/proximity/learned.js';
import type { Seed } from '../../src/proximity/site.js';
import { MOST_SERVICES, UsageWriter, walksOf } from '../../src/proximity/usage.js';
import { RaceWriter } from '../../src/race/record.js';
import type { Address } from '../../src/wire/address.js';
import type { SipKey } from '../../src/wire/siphash.js';
import * as tag from '../../src/wire/tag.js';
import { EvidenceWriter, evidence } from './evidence.js';
import { RaceFlows } from './flows.js';
import { gauges } from './gauges.js';
import { type Endpoint, type GatewayService, Machines } from './machines.js';
import { type NearOrder, NearProbes, NO_PROBES } from './near-probes.js';
import { PathProbes, type ProbeTarget } from './path-probes.js';
import { Pinning } from './pinning.js';
import { reasons } from './reasons.js';
import { Requests } from './requests.js';
import { TagPaths } from './tag-paths.js';

export { SPOOF, TRANSLATE, TUNNEL } from '../../src/race/modes.js';

export const RACE_ORIGIN = 0;
export const RACE_GATEWAY = 1;
export const RACE_LEARNED = 2;
/** Which role sends the copies of a SYN, as a number for the data plane. */
export type Race = typeof RACE_ORIGIN | typeof RACE_GATEWAY | typeof RACE_LEARNED;

/** The sides from which a packet can come. */
export const CLIENT = 1;
export const SERVER = 2;

export interface GatewaySnapshot {
  seeds: Seed[];
  race: Race;
  /** By service number. */
  services: GatewayService[];
  endpoints: Endpoint[];
  /** The largest MSS that leaves room for the tunnel's header. */
  tunnelMss: number;
  /** The version of the tags. */
  tagVersion?: number;
  /** The largest packet that the WAN transmits. */
  wanMtu: number;
  /** How replicas are probed in the background; absent where they are not. */
  near?: NearOrder;
  /** The paths that are probed, and the address that probes come from, as a word. */
  probed: readonly ProbeTarget[];
  probeSource: number;
  /** Of IPv6; absent where no client has it. */
  probeSource6?: Address;
}

export interface GatewayPipelineOptions {
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  /** Whether the kernel may open connections with a learned winner by itself. */
  openings: boolean;
  /** The most candidates that a race of this gateway asks. */
  raceWidth: number;
  gatewayId: number;
  keyId: number;
  /** Zeros where the gateway has none: then every tag and probe has the key of a pair. */
  key: number[];
}

/** The shared memory of the gateway's race, by name. */
export interface GatewayMemory {
  /** `src/race/record.ts` */
  races: Float64Array;
  /** `src/proximity/learned.ts`; empty for a race that learns nothing. */
  learned: Float64Array;
  /** `evidence.ts` */
  evidence: Float64Array;
  /** `path-probes.ts` */
  paths: Float64Array;
  /** `near-probes.ts` */
  near: Float64Array;
  /** `src/proximity/usage.ts` */
  usage: Float64Array;
}

/** The most stateless resets per tick of a tenth of a second. */
const LATE_RESETS_PER_TICK = 100;

/** The most answers to packets that are too large, per tick. */
const TOO_BIGS_PER_TICK = 100;

/** A tick that is later than this was held up: this process was stuck, or its machine. */
const STUCK_US = 500_000;
/** Who has had more packets to read than it could for so long reads late ones: a part of a near machine's round trip. */
const BEHIND_US = 5000;
/** How long packets that waited may still be among those that are read. */
const CATCH_UP_US = 1_000_000;

export class GatewayState {
  readonly flows: RaceFlows;
  readonly idle: Int32Array;
  readonly machines = new Machines();
  readonly races: RaceWriter;
  readonly learned: Learned;
  readonly evidence: EvidenceWriter;
  readonly requests: Requests;
  readonly tagPaths = new TagPaths();
  readonly hold: HoldQueue;
  readonly clock: Clock;
  readonly tunnelIds = new TunnelIds();
  /** The path MTUs to replicas, and from them, where they are smaller than the interfaces'. */
  readonly paths = new PathMtus();
  readonly pathsBack = new PathMtus();
  readonly probes: PathProbes;
  readonly near: NearProbes;
  /** The kernel's part in carrying flows; undefined without the fast path. */
  readonly pinning: Pinning | undefined;
  readonly gatewayId: number;
  readonly keyId: number;
  readonly key: SipKey;
  nowTick = 0;
  epoch = 0;
  lateResets = 0;
  /** How many more clients may be told in this tick that a packet is too large. */
  tooBigs = 0;
  race: Race = RACE_ORIGIN;
  readonly raceWidth: number;
  /** By service: one bit for each ejected candidate that the next connection is to try. */
  trials = new Int32Array(0);
  tunnelMss = 1440;
  tagVersion = tag.VERSION;
  wanMtu = 1500;
  readonly #memory: GatewayMemory;
  readonly #gauges: Float64Array;
  readonly #usage: UsageWriter;
  readonly #sweepBudget: number;

  constructor(context: PipelineContext<GatewayPipelineOptions>) {
    const { flows, openings, raceWidth, gatewayId, keyId, key } = context.options;
    const memory = context.memory as unknown as GatewayMemory;
    this.#memory = memory;
    this.#gauges = context.gauges;
    this.flows = new RaceFlows(flows.max, FlowTable.randomSeed());
    this.idle = idleTicks(flows, TICK_US / 1000);
    this.clock = context.clock;
    this.#reader = context.batch;
    this.races = new RaceWriter(memory.races, context.clock);
    this.learned = new Learned(memory.learned, context.clock);
    this.evidence = new EvidenceWriter(memory.evidence);
    this.requests = new Requests(this.flows, this.machines, this.races, this.evidence);
    this.#usage = new UsageWriter(memory.usage, this.flows, (e) => this.#serviceOf(e));
    this.hold = context.hold;
    this.raceWidth = raceWidth;
    this.gatewayId = gatewayId;
    this.keyId = keyId;
    this.key = Int32Array.from(key);
    const { hold, clock, paths, pathsBack } = this;
    this.probes = new PathProbes(this.key, gatewayId, keyId, hold, clock, memory.paths, paths, pathsBack);
    this.near = new NearProbes(this.key, gatewayId, keyId, hold, clock, memory.near);
    this.probes.near = (batch, i, p) => this.near.answered(batch, i, p, this.isCatchingUp());
    this.near.nearer = (machine, rttUs) => this.#nearer(machine, rttUs);
    this.learned.probed = (service, c) =>
      this.near.rttUs(this.machines.machineOf(service, c as CandidateNumber));
    if (context.kernel !== undefined)
      this.pinning = new Pinning(
        context.kernel,
        this.flows,
        this.machines,
        this.idle,
        context.clock,
        this.requests,
        { learns: memory.learned.length > 0, mayLease: openings },
      );
    const { pinning } = this;
    if (pinning !== undefined) {
      this.flows.halfOpen.isConfirmed = (e) => pinning.pins.isConfirmed(e);
      paths.changed = (to, mtu) => pinning.narrowPaths.set(to, mtu, paths.size);
    }
    this.flows.evicting = (e) => {
      pinning?.pins.release(e);
      forgetFlow(this.#batch, e);
    };
    this.requests.pinning = pinning;
    // Sweeps the whole table once in five seconds.
    this.#sweepBudget = Math.ceil(flows.max / 50);
    this.tick(context.clock.nowUs);
  }

  load(s: GatewaySnapshot): void {
    this.clock.update();
    const begunUs = this.clock.nowUs;
    this.race = s.race;
    this.tunnelMss = s.tunnelMss;
    this.tagVersion = s.tagVersion ?? tag.VERSION;
    this.wanMtu = s.wanMtu;
    this.probes.load(s.probed, s.probeSource, s.wanMtu, this.nowTick);
    this.#forgetFormerServices(s.services);
    const renamed = this.#forgetFormerHolders(s.services);
    const haveChanged = this.machines.load(s.services, s.endpoints);
    const from = { v4: s.probeSource, v6: s.probeSource6 };
    this.near.load(s.services, s.endpoints, from, s.near ?? NO_PROBES);
    for (const { service, c } of renamed) this.#seed(service, c);
    this.learned.seeds = s.seeds;
    this.#armTrials(s);
    this.pinning?.load(s.endpoints, haveChanged, walksOf(this.#memory.usage) > 0);
    // Who asks before the first tick must see what was adopted.
    this.#gauges[gauges.pinned] = this.pinning?.pins.live ?? 0;
    // With thousands of machines this takes a while, in which answers wait that are read now.
    this.clock.update();
    const tookUs = this.clock.nowUs - begunUs;
    if (tookUs > BEHIND_US) this.#caughtUpUs = this.clock.nowUs + Math.min(CATCH_UP_US, tookUs);
  }

  /**
   * Forgets what was learned of a service's candidate when the number means another machine.
   * @returns those that do
   */
  #forgetFormerHolders(
    services: readonly GatewayService[],
  ): { service: ServiceNumber; c: CandidateNumber }[] {
    const renamed: { service: ServiceNumber; c: CandidateNumber }[] = [];
    services.forEach(({ holders = [] }, service) => {
      const before = this.machines.serviceList[service]?.holders;
      holders.forEach((holder, c) => {
        if (before?.[c] === undefined || before[c] === holder) return;
        this.learned.forgetCandidate(service as ServiceNumber, c);
        this.evidence.forgetCandidate(service as ServiceNumber, c);
        renamed.push({ service: service as ServiceNumber, c: c as CandidateNumber });
      });
    });
    return renamed;
  }

  /** What probes tell of a machine is believed of a candidate of which SYNs have told nothing. */
  #seed(service: ServiceNumber, c: CandidateNumber): void {
    const rttUs = this.near.rttUs(this.machines.machineOf(service, c));
    if (rttUs > 0) this.learned.moved(service, c, rttUs);
  }

  #nearer(machine: MachineNumber, rttUs: number): void {
    for (let s = 0 as ServiceNumber; s < this.machines.serviceList.length; s++) {
      const c = this.machines.candidateOf(s, machine);
      if (c > 0) this.learned.moved(s, c, rttUs);
    }
  }

  /** Forgets what was learned of a service number when the number means another service. */
  #forgetFormerServices(services: readonly GatewayService[]): void {
    this.machines.serviceList.forEach((before, n) => {
      const { address, port } = services[n];
      if (port === before.port && address.every((word, w) => word === before.address[w])) return;
      this.learned.forgetService(n as ServiceNumber);
      this.evidence.forgetService(n as ServiceNumber);
    });
  }

  /** A trial that was ordered and not given yet is given to the next connection of its service. */
  #armTrials({ services, endpoints }: GatewaySnapshot): void {
    this.trials = new Int32Array(services.length);
    for (const { service, candidate, trials } of endpoints)
      if (candidate >= 0 && trials > this.evidence.trials(service, candidate))
        this.trials[service] |= 1 << candidate;
  }

  /**
   * Takes the service's next trial for this flow; only where {@link trials} says that there is one.
   * @returns the ejected candidate that is asked alone
   */
  takeTrial(e: FlowEntry, service: ServiceNumber): CandidateNumber {
    const bits = this.trials[service];
    const candidate = (31 - Math.clz32(bits & -bits)) as CandidateNumber;
    this.trials[service] &= ~(1 << candidate);
    this.evidence.add(service, candidate, evidence.trials);
    this.flows.trial[e] = this.machines.machineOf(service, candidate);
    return candidate;
  }

  /** The service of a flow, while numbers of services are short; else -1, to save the search. */
  #serviceOf(e: FlowEntry): ServiceNumber {
    const { machines, flows } = this;
    return machines.serviceList.length < MOST_SERVICES ? NO_SERVICE : machines.serviceOfFlow(flows, e);
  }

  /** Takes an entry for the table's key (`SynFlows.take`). @returns -1 where there is no room */
  take(batch: Batch): FlowEntry {
    this.#batch = batch;
    return this.flows.take(batch.counters, reasons);
  }
  #batch!: Batch;

  /** Stores the winner and its address in the entry, and counts who won. */
  decide(e: FlowEntry, service: ServiceNumber, endpoint: EndpointNumber, machine: MachineNumber): void {
    const { flows, machines } = this;
    const candidate = machines.candidateOf(service, machine);
    flows.winner[e] = machine;
    this.evidence.add(service, candidate, evidence.answered);
    this.evidence.add(service, candidate, evidence.won);
    if (flows.trial[e] !== machine) this.requests.trialLost(e, service);
    if (endpoint >= 0) {
      for (let w = 0; w < 4; w++) flows.target[4 * e + w] = machines.endpointWords[4 * endpoint + w];
      flows.targetPort[e] = machines.endpointPort[endpoint];
    }
    this.enter(e, OPENING);
  }

  /**
   * Notes that a candidate that was asked alone has not answered in time.
   * @param words the client's address is in four words from `at` on
   */
  late(service: ServiceNumber, words: Int32Array, at: number, candidate: CandidateNumber): void {
    this.learned.late(this.learned.entry(service, words, at), candidate);
    this.pinning?.endLease(service, words, at);
  }

  /** Notes that a candidate failed: it must be measured in a race again. */
  forget(service: ServiceNumber, words: Int32Array, at: number, candidate: CandidateNumber): void {
    this.learned.forget(this.learned.entry(service, words, at), candidate);
    this.pinning?.endLease(service, words, at);
  }

  /**
   * Whether packets are read that waited while this process was stuck, or had more to read than it could. Their times and
   * their lateness tell nothing about the machines.
   */
  isCatchingUp(): boolean {
    const { nowUs } = this.clock;
    const { behindSinceUs } = this.#reader;
    return (
      nowUs < this.#caughtUpUs ||
      nowUs - this.#tickedUs > STUCK_US ||
      (behindSinceUs !== 0 && nowUs - behindSinceUs > BEHIND_US)
    );
  }
  readonly #reader: Batch;
  #tickedUs = 0;
  #caughtUpUs = 0;

  tick(nowUs: number): void {
    this.nowTick = tickOf(nowUs);
    const gapUs = this.#tickedUs === 0 ? 0 : nowUs - this.#tickedUs;
    this.#tickedUs = nowUs;
    if (gapUs > STUCK_US) {
      this.#caughtUpUs = nowUs + CATCH_UP_US;
      this.requests.postpone(Math.ceil(gapUs / TICK_US));
    }
    this.epoch = tag.epochOf(wallMs() / 1000);
    this.lateResets = LATE_RESETS_PER_TICK;
    this.tooBigs = TOO_BIGS_PER_TICK;
    const pins = this.pinning?.pins;
    this.flows.sweep(this.nowTick, this.#sweepBudget, pins?.outlives);
    this.#usage.walk(this.#sweepBudget);
    this.#gauges[gauges.flows] = this.flows.size;
    this.paths.sweep(this.nowTick);
    this.pathsBack.sweep(this.nowTick);
    this.probes.tick(this.nowTick);
    this.near.tick(this.nowTick);
    this.requests.tick(this.nowTick);
    if (pins === undefined) return;
    pins.tick();
    this.#gauges[gauges.pinned] = pins.live;
  }

  /** Sets the state of a flow and renews its expiry time. */
  enter(e: FlowEntry, state: number): void {
    this.flows.state[e] = state;
    if (state === UNDECIDED) this.flows.born[e] = this.nowTick || 1;
    this.flows.expiresAt[e] = this.nowTick + this.idle[state];
  }
}
