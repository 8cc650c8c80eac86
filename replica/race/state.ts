/** State that the replica's stages share: its services, whether it takes SYNs, and its flows. */
import type { Clock } from '../../src/device/clock.js';
import type { HoldQueue } from '../../src/device/hold-queue.js';
import { type EndpointHandles, KernelEndpoints } from '../../src/fastpath/endpoints.js';
import { Pins } from '../../src/fastpath/pins.js';
import { AddressMap } from '../../src/flow/address-map.js';
import { type Column, columnOf, type FlowEntry, type ServiceNumber } from '../../src/flow/numbers.js';
import { ESTABLISHED, idleTicks, OPENING, PINNED } from '../../src/flow/states.js';
import { SynFlows } from '../../src/flow/syn-flows.js';
import { FlowTable, TICK_US, tickOf } from '../../src/flow/table.js';
import type { Batch } from '../../src/pipeline/batch.js';
import type { KernelHandles, PipelineContext } from '../../src/pipeline/pipeline.js';
import { defineGauges } from '../../src/pipeline/reasons.js';
import { TunnelIds } from '../../src/pipeline/tunnel.js';
import { Keyring, type KeyringGateway, type KeyWords } from '../../src/race/keyring.js';
import { type Mode, SPOOF, TRANSLATE } from '../../src/race/modes.js';
import { OpenedOnce } from '../../src/race/opened-once.js';
import type { ReplicaState } from '../../src/race/records.js';
import { type Address, V4_MAPPED } from '../../src/wire/address.js';
import { reasons } from './reasons.js';

export { SPOOF, TRANSLATE, TUNNEL } from '../../src/race/modes.js';

export const gauges = defineGauges({ flows: 'flows', pinned: 'pinned' });

export interface CarriedService {
  /** S and its port. */
  address: Address;
  port: number;
  /** (R, this port) is where the local web server listens in configuration A, and the destination of packets in B. */
  localPort: number;
  mode: Mode;
  /** The keys with which its origins make tags for this machine. */
  originKeys?: readonly KeyWords[];
}

export interface ReplicaSnapshot {
  /** R */
  address: Address;
  /** R for services with IPv6 addresses; absent where there is none. */
  address6?: Address;
  services: CarriedService[];
  gateways: KeyringGateway[];
  state: ReplicaState;
  /** µs by which an acknowledgement is delayed now. */
  penaltyUs: number;
}

export interface ReplicaPipelineOptions {
  flows: { max: number; openingTimeoutMs: number; establishedTimeoutMs: number; closingTimeoutMs: number };
  /** The most SYNs that are accepted per second; 0 is no limit. */
  newPerSecond: number;
}

export class ReplicaFlows {
  readonly flows: SynFlows;
  readonly idle: Int32Array;
  readonly keyring = new Keyring();
  readonly opened = new OpenedOnce();
  nowTick = 0;
  /** R as a word. */
  address = 0;
  /** R of IPv6, four words; 0 where there is none, which is no address of a packet here. */
  readonly address6 = new Int32Array(4);
  state: ReplicaState = 'inactive';
  penaltyUs = 0;
  readonly hold: HoldQueue;
  readonly clock: Clock;
  readonly tunnelIds = new TunnelIds();

  /** (S, port) → service. */
  readonly services = new AddressMap<ServiceNumber>();
  /** (R, localPort) → service, in configuration B. */
  readonly endpoints = new AddressMap<ServiceNumber>();
  /** Four words per service. */
  serviceWords = new Int32Array(0);
  servicePort = new Uint16Array(0);
  serviceLocalPort = new Uint16Array(0);
  serviceMode: Column<Mode> = columnOf<Mode>(new Uint8Array(0));
  /** The kernel's part in carrying flows; undefined without the fast path. */
  readonly pins: Pins | undefined;
  readonly #newPerSecond: number;
  #admissions: number;
  #admittedUs: number;
  readonly #sweepBudget: number;
  readonly #kernelEndpoints: KernelEndpoints | undefined;
  readonly #gauges: Float64Array;

  constructor(context: PipelineContext<ReplicaPipelineOptions>) {
    const { flows, newPerSecond } = context.options;
    this.#newPerSecond = newPerSecond;
    this.#admissions = newPerSecond;
    this.#admittedUs = context.clock.nowUs;
    this.hold = context.hold;
    this.clock = context.clock;
    this.flows = new SynFlows(flows.max, FlowTable.randomSeed());
    this.idle = idleTicks(flows, TICK_US / 1000);
    this.#sweepBudget = Math.ceil(flows.max / 50);
    this.#gauges = context.gauges;
    if (context.kernel !== undefined) {
      const handles = context.kernel as KernelHandles & Pins['fds'] & EndpointHandles;
      const pins = new Pins(handles, this.flows, this.idle, context.clock);
      this.pins = pins;
      this.#kernelEndpoints = new KernelEndpoints(handles);
      this.flows.halfOpen.isConfirmed = (e) => pins.isConfirmed(e);
      this.flows.evicting = (e) => pins.release(e);
    }
    this.tick(context.clock.nowUs);
  }

  /** Takes an entry for the table's key (`SynFlows.take`). @returns -1 where there is no room */
  take(batch: Batch): FlowEntry {
    return this.flows.take(batch.counters, reasons);
  }

  load(s: ReplicaSnapshot): void {
    this.address = s.address[3];
    this.address6.set(s.address6 ?? [0, 0, 0, 0]);
    this.state = s.state;
    this.penaltyUs = Math.round(s.penaltyUs);
    this.keyring.load(
      s.gateways,
      s.services.map((x) => x.originKeys ?? []),
    );
    this.services.load(s.services.map(({ address, port }, value) => ({ address, port, value })));
    this.endpoints.load(
      s.services
        .map(({ localPort, mode }, value) => ({ address: s.address, port: localPort, value, mode }))
        .filter((x) => x.mode === SPOOF),
    );
    this.serviceWords = Int32Array.from(s.services.flatMap((x) => x.address));
    this.servicePort = Uint16Array.from(s.services, (x) => x.port);
    this.serviceLocalPort = Uint16Array.from(s.services, (x) => x.localPort);
    this.serviceMode = columnOf<Mode>(Uint8Array.from(s.services, (x) => x.mode));
    this.#kernelEndpoints?.load(
      s.services
        .filter((x) => x.mode !== TRANSLATE)
        .map(({ address, port, localPort, mode }) => ({
          ...(mode === SPOOF ? { address: s.address, port: localPort } : { address, port }),
          service: address,
          servicePort: port,
          mode,
        })),
      // A replica has few service ports, and each is configured by its operator.
      false,
    );
    this.pins?.adopt();
    // Who asks before the first tick must see what was adopted.
    this.#showGauges();
  }

  /** Whether packet `i` is addressed to R. */
  isToReplica(batch: Batch, i: number): boolean {
    if (batch.family[i] === 4) return batch.daddrV4(i) === this.address;
    for (let w = 0; w < 4; w++) if (batch.daddr[4 * i + w] !== this.address6[w]) return false;
    return true;
  }

  /** The service's address as the word of an IPv4 address. */
  serviceV4(service: ServiceNumber): number {
    return this.serviceWords[4 * service + 3];
  }

  /** Whether one more connection may begin now: a token bucket of one second's worth, filled evenly. */
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
   * Pins the flow when the kernel's acknowledgement is about to leave. Not later, because a client that has received
   * it regards the connection as established, even if this process dies.
   */
  pinEarly(e: FlowEntry, service: ServiceNumber): void {
    const { pins, flows } = this;
    if (pins === undefined || pins.isLate || flows.state[e] !== OPENING || (flows.marks[e] & PINNED) !== 0)
      return;
    this.#pin(pins, e, service);
  }

  /** Pins the flow after the client has answered. */
  pin(e: FlowEntry, service: ServiceNumber): void {
    const { pins, flows } = this;
    if (pins === undefined || flows.state[e] !== ESTABLISHED || (flows.marks[e] & PINNED) !== 0) return;
    if (pins.isDue(e)) this.#pin(pins, e, service);
  }

  #pin(pins: Pins, e: FlowEntry, service: ServiceNumber): void {
    const { flows } = this;
    // There are no hooks for IPv6.
    if (!flows.isV4(e)) return;
    flows.target[e * 4 + 2] = V4_MAPPED;
    flows.target[e * 4 + 3] = this.address;
    pins.pin(e, this.serviceMode[service]);
  }

  tick(nowUs: number): void {
    this.nowTick = tickOf(nowUs);
    this.keyring.tick();
    this.flows.sweep(this.nowTick, this.#sweepBudget, this.pins?.outlives);
    this.pins?.tick();
    this.#showGauges();
  }

  #showGauges(): void {
    this.#gauges[gauges.flows] = this.flows.size;
    this.#gauges[gauges.pinned] = this.pins?.live ?? 0;
  }
}
