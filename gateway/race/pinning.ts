/**
 * The kernel's part in carrying the gateway's flows: which flows are pinned, which clients' SYNs the kernel may send
 * to a learned winner by itself, and the winners of a predecessor's flows.
 */
import type { Clock } from '../../src/device/clock.js';
import { type EndpointHandles, KernelEndpoints } from '../../src/fastpath/endpoints.js';
import { NarrowPaths, type PathHandles } from '../../src/fastpath/narrow-paths.js';
import { Pins } from '../../src/fastpath/pins.js';
import type { CandidateNumber, FlowEntry, ServiceNumber } from '../../src/flow/numbers.js';
import { ESTABLISHED, PINNED } from '../../src/flow/states.js';
import type { KernelHandles } from '../../src/pipeline/pipeline.js';
import { ORIGIN_MACHINE } from '../../src/proximity/candidates.js';
import { PREFIX_BITS } from '../../src/proximity/learned-table.js';
import { TRANSLATE, TUNNEL } from '../../src/race/modes.js';
import { type OpeningHandles, Openings } from '../../src/race/openings.js';
import { V4_MAPPED } from '../../src/wire/address.js';
import type { RaceFlows } from './flows.js';
import { type Endpoint, type Machines, tunnelPort } from './machines.js';
import type { Requests } from './requests.js';

const PREFIX_MASK = -1 << (32 - PREFIX_BITS);

export class Pinning {
  readonly pins: Pins;
  readonly #endpoints: KernelEndpoints;
  readonly narrowPaths: NarrowPaths;
  /** Connections that the kernel opens with a learned winner; undefined in an origin's race. */
  readonly openings: Openings | undefined;

  /**
   * @param requests is told what the hooks noted of a flow's first request
   * @param how mayLease: whether the kernel may open connections by itself
   */
  constructor(
    handles: KernelHandles,
    readonly flows: RaceFlows,
    readonly machines: Machines,
    idle: Int32Array,
    readonly clock: Clock,
    requests: Requests,
    readonly how: { learns: boolean; mayLease: boolean },
  ) {
    this.pins = new Pins(handles as KernelHandles & Pins['fds'], flows, idle, clock, {
      adopted: (e) => this.#adopt(e),
      requested: (e) => requests.requested(e),
      firstByte: (e, us) => requests.firstByte(e, us),
      failed: (e, byServer) => requests.failed(e, byServer),
    });
    this.#endpoints = new KernelEndpoints(handles as KernelHandles & EndpointHandles);
    this.narrowPaths = new NarrowPaths(handles as KernelHandles & PathHandles);
    if (how.learns) this.openings = new Openings(handles as KernelHandles & OpeningHandles);
  }

  /**
   * Takes over newly loaded machines.
   * @param haveChanged whether the set of candidates that may be asked, or that of suspects, has changed
   * @param hasWalked whether every flow of a predecessor has been met: then its machines are loaded, or not used by a
   * flow
   */
  load(endpoints: readonly Endpoint[], haveChanged: boolean, hasWalked: boolean): void {
    const { serviceList } = this.machines;
    this.#endpoints.load(
      endpoints.map(({ address, port, service }) => ({
        address,
        port,
        service: serviceList[service].address,
        servicePort: serviceList[service].port,
        mode: serviceList[service].mode,
      })),
      hasWalked,
    );
    this.pins.adopt();
    if (haveChanged) this.openings?.endAll(this.clock.nowUs);
  }

  /** Adopts a flow that a predecessor pinned: its winner is the endpoint to which the kernel sends it. */
  #adopt(e: FlowEntry): void {
    const { flows, machines } = this;
    const service = machines.serviceOfFlow(flows, e);
    if (service < 0) return;
    const isOwn = [0, 1, 2, 3].every(
      (w) => flows.target[4 * e + w] === machines.serviceWords[4 * service + w],
    );
    const tunnelled = !isOwn && machines.serviceMode[service] === TUNNEL;
    const port = tunnelled ? tunnelPort(service) : flows.targetPort[e];
    const endpoint = machines.endpoints.ofWords(flows.target, 4 * e, port);
    if (endpoint >= 0) flows.winner[e] = machines.endpointMachine[endpoint];
  }

  /** Whether flows may be given to the kernel from now on, by this process or by the kernel itself. */
  allow(allowed: boolean): void {
    this.pins.allowed = allowed;
    if (!allowed) this.openings?.endAll(this.clock.nowUs);
  }

  /** Called for one more packet of a flow through the TUN. */
  pinLate(e: FlowEntry, service: ServiceNumber): void {
    if (this.flows.state[e] === ESTABLISHED && this.flows.winner[e] >= 0) this.pin(e, service);
  }

  /** Pins a decided flow: from here on the kernel carries it. */
  pin(e: FlowEntry, service: ServiceNumber): void {
    const { pins, flows } = this;
    const mode = flows.winner[e] === ORIGIN_MACHINE ? TRANSLATE : this.machines.serviceMode[service];
    // The hooks put no packet of IPv6 into a tunnel.
    if ((flows.marks[e] & PINNED) !== 0 || (mode !== TRANSLATE && !flows.isV4(e)) || !pins.isDue(e)) return;
    pins.pin(e, mode);
  }

  /**
   * Lets the kernel send SYNs of this client's prefix to this candidate alone, for one second. IPv4 only.
   * @param words the client's address is in four words from `at` on
   */
  lease(service: ServiceNumber, words: Int32Array, at: number, candidate: CandidateNumber): void {
    if (!this.how.mayLease || !this.pins.allowed || words[at + 2] !== V4_MAPPED) return;
    const { machines } = this;
    const endpoint = machines.endpointOf(service, candidate);
    // Where the first packets of flows go through the TUN, the kernel does not know which tuples are in use.
    if (endpoint < 0 || this.pins.isLate) return;
    this.openings?.lease(
      words[at + 3] & PREFIX_MASK,
      machines.serviceList[service].address,
      machines.servicePort[service],
      machines.endpointV4(endpoint),
      machines.endpointPort[endpoint],
      machines.endpointMachine[endpoint],
      this.clock.nowUs,
    );
  }

  /** Ends a lease, because its winner failed: SYNs of this client's prefix come to the TUN again. */
  endLease(service: ServiceNumber, words: Int32Array, at: number): void {
    const { machines } = this;
    if (words[at + 2] !== V4_MAPPED) return;
    this.openings?.end(
      words[at + 3] & PREFIX_MASK,
      machines.serviceList[service].address,
      machines.servicePort[service],
    );
  }
}
