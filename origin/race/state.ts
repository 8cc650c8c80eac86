/** What the origin's stages share: services, their live replicas and release schedules, who may tag. */

import type { HoldQueue } from '../../src/device/hold-queue.js';
import { AddressMap } from '../../src/flow/address-map.js';
import { slotOf } from '../../src/flow/jhash.js';
import { FlowTable, tickOf } from '../../src/flow/table.js';
import type { Batch } from '../../src/pipeline/batch.js';
import type { PipelineContext } from '../../src/pipeline/pipeline.js';
import { Keyring, type KeyringGateway } from '../../src/race/keyring.js';
import { RaceWriter } from '../../src/race/record.js';
import type { Address } from '../../src/wire/address.js';
import * as ipv4 from '../../src/wire/ipv4.js';
import * as tcp from '../../src/wire/tcp.js';

export interface OriginServicePlan {
  address: Address;
  port: number;
  replicable: boolean;
  /** µs that the origin's own server waits: Dmax. */
  serverDelayUs: number;
  /** Live replicas and how long each one's copy waits. */
  copies: { address: Address; delayUs: number; candidate: number }[];
  /** Bits of the candidates, the origin's own server among them. */
  candidates: number;
  /** Where some of its servers are remote. */
  remote?: RemoteServers;
}

export interface RemoteServers {
  /** By slot of a connection: the place in `servers`, or -1 where an adjacent one serves. */
  slots: Int16Array;
  servers: { address: Address; candidate: number }[];
}

export interface OriginSnapshot {
  /** O, the outer source of copies. */
  address: Address;
  services: OriginServicePlan[];
  gateways: KeyringGateway[];
}

export interface OriginPipelineOptions {
  flows: { max: number };
  /** Of the hash that leads to slots; the kernel's is the same. */
  seed: number;
}

export class OriginState {
  /** SYNs that are being held, so that a retransmission is not copied twice. */
  readonly held: FlowTable;
  readonly keyring = new Keyring();
  readonly hold: HoldQueue;
  readonly races: RaceWriter;
  readonly services = new AddressMap();
  plans: OriginServicePlan[] = [];
  /** O as a word. */
  address = 0;
  /** Identification of outer headers that may be fragmented. */
  ipId = 0;
  readonly #seed: number;
  readonly #sweepBudget: number;
  readonly #gauges: Float64Array;

  constructor(context: PipelineContext<OriginPipelineOptions>) {
    this.hold = context.hold;
    this.races = new RaceWriter(context.races, context.clock);
    this.held = FlowTable.seeded(context.options.flows.max);
    this.#sweepBudget = Math.ceil(context.options.flows.max / 50);
    this.#gauges = context.gauges;
    this.#seed = context.options.seed;
  }

  load(s: OriginSnapshot): void {
    this.address = s.address[3];
    // Whole microseconds: small integers, which no call boxes.
    this.plans = s.services.map((plan) => ({
      ...plan,
      serverDelayUs: Math.round(plan.serverDelayUs),
      copies: plan.copies.map((copy) => ({ ...copy, delayUs: Math.round(copy.delayUs) })),
    }));
    this.services.load(s.services.map(({ address, port }, value) => ({ address, port, value })));
    this.keyring.load(s.gateways);
  }

  /** The remote server that SYN `i` falls to, or -1. */
  remoteServer(batch: Batch, i: number, service: number): number {
    const { remote } = this.plans[service];
    if (remote === undefined) return -1;
    const { view } = batch;
    const at = batch.at[i];
    const l4 = batch.l4[i];
    const slot = slotOf(
      ipv4.saddr(view, at),
      tcp.sport(view, l4),
      ipv4.daddr(view, at),
      tcp.dport(view, l4),
      this.#seed,
      remote.slots.length,
    );
    return remote.slots[slot];
  }

  tick(nowUs: number): void {
    this.keyring.tick();
    this.held.sweep(tickOf(nowUs), this.#sweepBudget);
    this.#gauges[0] = this.hold.size;
  }
}
