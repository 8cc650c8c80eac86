/** What the replica's stages share: the services it carries, whether it takes SYNs, the flows it has. */
import type { Clock } from '../../src/device/clock.js';
import type { HoldQueue } from '../../src/device/hold-queue.js';
import { Pins } from '../../src/fastpath/pins.js';
import { AddressMap } from '../../src/flow/address-map.js';
import { ESTABLISHED, idleTicks, OPENING, PINNED } from '../../src/flow/states.js';
import { FlowTable, TICK_US, tickOf } from '../../src/flow/table.js';
import type { PipelineContext } from '../../src/pipeline/pipeline.js';
import { PINNED_FLOWS } from '../../src/pipeline/reasons.js';
import { Keyring, type KeyringGateway } from '../../src/race/keyring.js';
import { type Mode, SPOOF, TRANSLATE } from '../../src/race/modes.js';
import type { ReplicaState } from '../../src/registry/records.js';
import type { Address } from '../../src/wire/address.js';
import { V4_MAPPED } from '../../src/wire/address.js';

export { SPOOF, TRANSLATE, TUNNEL } from '../../src/race/modes.js';

export interface CarriedService {
  /** S and its port. */
  address: Address;
  port: number;
  /** Where the local web server listens under A, and what B's packets are addressed to: (R, port). */
  localPort: number;
  mode: Mode;
}

export interface ReplicaSnapshot {
  /** R */
  address: Address;
  services: CarriedService[];
  gateways: KeyringGateway[];
  state: ReplicaState;
  /** µs that an acknowledgement is delayed by now. */
  penaltyUs: number;
}

export interface ReplicaPipelineOptions {
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  /** SYNs that are let in; 0 is no limit. */
  newPerSecond: number;
}

export class ReplicaFlows {
  readonly flows: FlowTable;
  readonly idle: Int32Array;
  readonly keyring = new Keyring();
  nowTick = 0;
  /** R as a word. */
  address = 0;
  state: ReplicaState = 'inactive';
  penaltyUs = 0;
  readonly hold: HoldQueue;
  readonly clock: Clock;
  /** Identification of outer headers that may be fragmented. */
  ipId = 0;

  /** (S, port) → service. */
  readonly services = new AddressMap();
  /** (R, localPort) → service, under B. */
  readonly endpoints = new AddressMap();
  serviceAddress = new Int32Array(0);
  servicePort = new Uint16Array(0);
  serviceLocalPort = new Uint16Array(0);
  serviceMode = new Uint8Array(0);
  /** The kernel's part in carrying flows, where it has one. */
  readonly pins: Pins | undefined;
  readonly #newPerSecond: number;
  #admissions: number;
  #admittedUs: number;
  readonly #sweepBudget: number;
  readonly #gauges: Float64Array;

  constructor(context: PipelineContext<ReplicaPipelineOptions>) {
    const { flows, newPerSecond } = context.options;
    this.#newPerSecond = newPerSecond;
    this.#admissions = newPerSecond;
    this.#admittedUs = context.clock.nowUs;
    this.hold = context.hold;
    this.clock = context.clock;
    this.flows = FlowTable.seeded(flows.max);
    this.idle = idleTicks(flows, TICK_US / 1000);
    this.#sweepBudget = Math.ceil(flows.max / 50);
    this.#gauges = context.gauges;
    const nothing = (): void => {};
    if (context.pinFds !== undefined)
      this.pins = new Pins(context.pinFds, this.flows, this.idle, context.clock, {
        adopted: nothing,
        firstByte: nothing,
      });
    this.tick(context.clock.nowUs);
  }

  load(s: ReplicaSnapshot): void {
    this.address = s.address[3];
    this.state = s.state;
    this.penaltyUs = Math.round(s.penaltyUs);
    this.keyring.load(s.gateways);
    this.services.load(s.services.map(({ address, port }, value) => ({ address, port, value })));
    this.endpoints.load(
      s.services
        .map(({ localPort, mode }, value) => ({ address: s.address, port: localPort, value, mode }))
        .filter((x) => x.mode === SPOOF),
    );
    this.serviceAddress = Int32Array.from(s.services, (x) => x.address[3]);
    this.servicePort = Uint16Array.from(s.services, (x) => x.port);
    this.serviceLocalPort = Uint16Array.from(s.services, (x) => x.localPort);
    this.serviceMode = Uint8Array.from(s.services, (x) => x.mode);
    this.pins?.endpoints(
      s.services
        .filter((x) => x.mode !== TRANSLATE)
        .map(({ address, port, localPort, mode }) => ({
          ...(mode === SPOOF ? { address: s.address, port: localPort } : { address, port }),
          service: address,
          servicePort: port,
          mode,
        })),
    );
    this.pins?.adopt();
  }

  /** Whether one more connection may begin now: a bucket of a second's worth, filled evenly. */
  admits(): boolean {
    const rate = this.#newPerSecond;
    if (rate === 0) return true;
    const { nowUs } = this.clock;
    this.#admissions = Math.min(rate, this.#admissions + ((nowUs - this.#admittedUs) * rate) / 1e6);
    this.#admittedUs = nowUs;
    if (this.#admissions < 1) return false;
    this.#admissions--;
    return true;
  }

  /**
   * The kernel's acknowledgement is about to leave: from here on the kernel carries the flow. Not later: a client
   * that has the acknowledgement takes the connection for made, whatever becomes of this process.
   */
  pinEarly(e: number, service: number): void {
    const { pins, flows } = this;
    if (pins === undefined || pins.isLate || flows.state[e] !== OPENING || (flows.marks[e] & PINNED) !== 0)
      return;
    this.#pin(pins, e, service);
  }

  /** The client has answered. */
  pin(e: number, service: number): void {
    const { pins, flows } = this;
    if (pins === undefined || flows.state[e] !== ESTABLISHED || (flows.marks[e] & PINNED) !== 0) return;
    if (pins.isDue(e)) this.#pin(pins, e, service);
  }

  #pin(pins: Pins, e: number, service: number): void {
    const { flows } = this;
    flows.target[e * 4 + 2] = V4_MAPPED;
    flows.target[e * 4 + 3] = this.address;
    pins.pin(e, this.serviceMode[service] as Mode);
  }

  tick(nowUs: number): void {
    this.nowTick = tickOf(nowUs);
    this.keyring.tick();
    this.flows.sweep(this.nowTick, this.#sweepBudget, this.pins?.outlives);
    this.#gauges[0] = this.flows.size;
    if (this.pins === undefined) return;
    this.pins.tick();
    this.#gauges[PINNED_FLOWS] = this.pins.live;
  }
}
