/**
 * State that the origin's stages share: services, their live replicas and release schedules, and the keys of gateways
 * that may tag.
 */

import type { HoldQueue } from '../../src/device/hold-queue.js';
import { AddressMap } from '../../src/flow/address-map.js';
import { slotOf } from '../../src/flow/jhash.js';
import type { CandidateNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { SynFlows } from '../../src/flow/syn-flows.js';
import { FlowTable, tickOf } from '../../src/flow/table.js';
import type { Batch } from '../../src/pipeline/batch.js';
import type { PipelineContext } from '../../src/pipeline/pipeline.js';
import { defineGauges } from '../../src/pipeline/reasons.js';
import { TunnelIds } from '../../src/pipeline/tunnel.js';
import { Keyring, type KeyringGateway, type PairedKey } from '../../src/race/keyring.js';
import { OpenedOnce } from '../../src/race/opened-once.js';
import { RaceWriter } from '../../src/race/record.js';
import type { Address } from '../../src/wire/address.js';

/** A machine that gets a copy. */
export interface Copy {
  address: Address;
  delayUs: number;
  candidate: CandidateNumber;
  /** With which it is told that this origin has checked the gateway's tag; undefined where it shares none. */
  key?: PairedKey;
}

export interface OriginServicePlan {
  address: Address;
  port: number;
  replicable: boolean;
  /** µs for which the SYN to the origin's own server waits: Dmax. */
  serverDelayUs: number;
  /** Live replicas, and how long the copy to each waits. */
  copies: Copy[];
  /** Replicas in configuration B, whatever their state: ICMP errors about what they send come to the origin. */
  spoofing: Address[];
  /** One bit for each candidate, including the origin's own server. */
  candidates: number;
  /** Set where some of the service's servers are remote. */
  remote?: RemoteServers;
}

export interface RemoteServers {
  /** By slot of a connection: an index in `servers`, or -1 where an adjacent server serves. */
  slots: Int32Array;
  servers: Omit<Copy, 'delayUs'>[];
}

export interface OriginSnapshot {
  /** O, the outer source of copies. */
  address: Address;
  services: OriginServicePlan[];
  gateways: KeyringGateway[];
}

export interface OriginPipelineOptions {
  flows: { max: number };
  /** Seed of the hash that selects slots; the kernel uses the same. */
  seed: number;
}

/** The shared memory of the origin's race, by name. */
export interface OriginMemory {
  /** `src/race/record.ts` */
  races: Float64Array;
}

/** The most ICMP errors that are relayed per tick of a tenth of a second. */
const RELAYED_PER_TICK = 20;

/** The number of packets that wait for their release. */
export const gauges = defineGauges({ held: 'held' });

export class OriginState {
  /** SYNs that are held, so that a retransmission is not copied again. */
  readonly held: SynFlows;
  readonly keyring = new Keyring();
  readonly opened = new OpenedOnce();
  readonly hold: HoldQueue;
  readonly races: RaceWriter;
  readonly services = new AddressMap<ServiceNumber>();
  plans: OriginServicePlan[] = [];
  /** O as a word. */
  address = 0;
  readonly tunnelIds = new TunnelIds();
  /** How many more ICMP errors may be relayed in this tick. */
  relayed = RELAYED_PER_TICK;
  readonly #seed: number;
  readonly #sweepBudget: number;
  readonly #gauges: Float64Array;

  constructor(context: PipelineContext<OriginPipelineOptions>) {
    this.hold = context.hold;
    this.races = new RaceWriter((context.memory as unknown as OriginMemory).races, context.clock);
    this.held = new SynFlows(context.options.flows.max, FlowTable.randomSeed());
    this.#sweepBudget = Math.ceil(context.options.flows.max / 50);
    this.#gauges = context.gauges;
    this.#seed = context.options.seed;
  }

  load(s: OriginSnapshot): void {
    this.address = s.address[3];
    // Whole microseconds are small integers, which are not boxed in calls.
    this.plans = s.services.map((plan) => ({
      ...plan,
      serverDelayUs: Math.round(plan.serverDelayUs),
      copies: plan.copies.map((copy) => ({ ...copy, delayUs: Math.round(copy.delayUs) })),
    }));
    this.services.load(s.services.map(({ address, port }, value) => ({ address, port, value })));
    this.keyring.load(s.gateways);
  }

  /** The remote server to which SYN `i` is assigned, or -1. */
  remoteServer(batch: Batch, i: number, service: ServiceNumber): number {
    const { remote } = this.plans[service];
    if (remote === undefined) return -1;
    const slot = slotOf(
      batch.saddrV4(i),
      batch.sport[i],
      batch.daddrV4(i),
      batch.dport[i],
      this.#seed,
      remote.slots.length,
    );
    return remote.slots[slot];
  }

  /** The entry of the held SYN of this tuple, or -1. Sets the table's key. */
  lookUp(batch: Batch, i: number): FlowEntry {
    this.held.keyOf(batch, i);
    return this.held.find();
  }

  tick(nowUs: number): void {
    this.keyring.tick();
    this.relayed = RELAYED_PER_TICK;
    this.held.sweep(tickOf(nowUs), this.#sweepBudget);
    this.#gauges[gauges.held] = this.hold.size;
  }
}
