/** The services and machines that the gateway's stages look up, from the control plane's last snapshot. */
import { AddressMap } from '../../src/flow/address-map.js';
import {
  type CandidateNumber,
  type Column,
  columnOf,
  type EndpointNumber,
  type FlowEntry,
  type MachineNumber,
  NO_CANDIDATE,
  NO_ENDPOINT,
  NO_MACHINE,
  type ServiceNumber,
} from '../../src/flow/numbers.js';
import type { FlowTable, Tuples } from '../../src/flow/table.js';
import { MOST_RACED, ORIGIN } from '../../src/proximity/candidates.js';
import type { KeyWords, PairedKey } from '../../src/race/keyring.js';
import { type Mode, TUNNEL } from '../../src/race/modes.js';
import type { Address } from '../../src/wire/address.js';

export interface GatewayService {
  address: Address;
  port: number;
  mode: Mode;
  /** Whether SYNs are tagged: the origin is up and the service has replicas. */
  raced: boolean;
  /** One bit for each candidate that some connections avoid, so that it can be compared with others. */
  suspects: number;
  /** By candidate: changes when the number means another machine. */
  holders?: readonly number[];
  /** For tags to its origin; undefined for the gateway's own. */
  key?: KeyWords;
}

/** One address and port at which a machine answers for a service. The origin's endpoint has the service's own. */
export interface Endpoint {
  service: ServiceNumber;
  machine: MachineNumber;
  /** Its number in the service's races; -1 for a machine that is not asked. */
  candidate: CandidateNumber;
  address: Address;
  port: number;
  /** Whether it may still join races; else it only finishes its flows. */
  live: boolean;
  /** 0 … 1. */
  load: number;
  /** How many trials were ordered for the machine, while it is ejected from this service's races. */
  trials: number;
  /** For tags to this machine; undefined for the gateway's own. */
  key?: KeyWords;
}

/** The port in the key of a (replica, service) pair's tunnel endpoint: above all real ports. */
export function tunnelPort(service: ServiceNumber): number {
  return 0x10000 + service;
}

const pairedKey = (key: KeyWords | undefined): PairedKey | undefined =>
  key && { id: key.id, key: Int32Array.from(key.words) };

const words = (addresses: readonly Address[]): Int32Array<ArrayBuffer> => Int32Array.from(addresses.flat());

export class Machines {
  /** (S, port) → service. */
  readonly services = new AddressMap<ServiceNumber>();
  serviceList: readonly GatewayService[] = [];
  /** Four words per service. */
  serviceWords = new Int32Array(0);
  servicePort = new Uint16Array(0);
  serviceMode: Column<Mode> = columnOf<Mode>(new Uint8Array(0));
  serviceRaced = new Uint8Array(0);
  /** One bit for each suspect. */
  serviceSuspects = new Int32Array(0);
  /** One bit for each candidate that may be asked; bit 0 is the origin. */
  serviceLive = new Int32Array(0);

  /** Keys (R, port), (S, port) for origins and (R, tunnelPort) for tunnels, to endpoints. */
  readonly endpoints = new AddressMap<EndpointNumber>();
  endpointService: Column<ServiceNumber> = columnOf<ServiceNumber>(new Int32Array(0));
  endpointMachine: Column<MachineNumber> = columnOf<MachineNumber>(new Int32Array(0));
  /** -1 for a machine that is not asked. */
  endpointCandidate: Column<CandidateNumber> = columnOf<CandidateNumber>(new Int32Array(0));
  /** Four words per endpoint. */
  endpointWords = new Int32Array(0);
  endpointPort = new Uint16Array(0);
  /** The keys that this gateway shares with the machine, and for a service with its origin. */
  endpointKeys: readonly (PairedKey | undefined)[] = [];
  serviceKeys: readonly (PairedKey | undefined)[] = [];
  /** By service: the endpoints that may be asked. */
  serviceEndpoints: Column<EndpointNumber>[] = [];
  /** By service and candidate: its endpoint where it can be asked, or -1. */
  #endpointOf: Column<EndpointNumber> = columnOf<EndpointNumber>(new Int32Array(0));
  /** By service and candidate: the machine that has this number; -1 for none. */
  #machineOf: Column<MachineNumber> = columnOf<MachineNumber>(new Int32Array(0));
  /** By service: each candidate's load. */
  serviceLoads: readonly Float64Array[] = [];

  /** Replaces everything. @returns whether the set of candidates that may be asked, or that of suspects, has changed */
  load(services: readonly GatewayService[], endpoints: readonly Endpoint[]): boolean {
    const [liveBefore, suspectsBefore] = [this.serviceLive, this.serviceSuspects];
    this.#loadServices(services);
    this.#loadEndpoints(endpoints);
    return (
      this.serviceLive.some((bits, n) => bits !== liveBefore[n]) ||
      this.serviceSuspects.some((bits, n) => bits !== (suspectsBefore[n] ?? 0))
    );
  }

  #loadServices(services: readonly GatewayService[]): void {
    this.serviceList = services;
    this.services.load(services.map(({ address, port }, value) => ({ address, port, value })));
    this.serviceWords = words(services.map((s) => s.address));
    this.servicePort = Uint16Array.from(services, (s) => s.port);
    this.serviceMode = columnOf<Mode>(Uint8Array.from(services, (s) => s.mode));
    this.serviceRaced = Uint8Array.from(services, (s) => (s.raced ? 1 : 0));
    this.serviceSuspects = Int32Array.from(services, (s) => s.suspects);
    this.serviceKeys = services.map(({ key }) => pairedKey(key));
  }

  #loadEndpoints(endpoints: readonly Endpoint[]): void {
    this.endpoints.load(
      endpoints.map(({ address, port, service, candidate }, value) => ({
        address,
        // In configuration C a replica's address alone identifies the machine, for each service.
        port: this.serviceMode[service] === TUNNEL && candidate !== ORIGIN ? tunnelPort(service) : port,
        value,
      })),
    );
    this.endpointService = columnOf<ServiceNumber>(Int32Array.from(endpoints, (e) => e.service));
    this.endpointMachine = columnOf<MachineNumber>(Int32Array.from(endpoints, (e) => e.machine));
    this.endpointCandidate = columnOf<CandidateNumber>(Int32Array.from(endpoints, (e) => e.candidate));
    this.endpointWords = words(endpoints.map((e) => e.address));
    this.endpointPort = Uint16Array.from(endpoints, (e) => e.port);
    this.endpointKeys = endpoints.map(({ key }) => pairedKey(key));
    const count = this.serviceList.length;
    const asked: EndpointNumber[][] = Array.from({ length: count }, () => []);
    this.serviceLive = new Int32Array(count).fill(1 << ORIGIN);
    this.#endpointOf = columnOf<EndpointNumber>(new Int32Array(count * MOST_RACED).fill(NO_ENDPOINT));
    this.#machineOf = columnOf<MachineNumber>(new Int32Array(count * MOST_RACED).fill(NO_MACHINE));
    this.serviceLoads = Array.from({ length: count }, () => new Float64Array(MOST_RACED));
    endpoints.forEach((e, n) => {
      if (e.candidate < 0) return;
      this.serviceLoads[e.service][e.candidate] = e.load;
      this.#endpointOf[e.service * MOST_RACED + e.candidate] = n as EndpointNumber;
      this.#machineOf[e.service * MOST_RACED + e.candidate] = e.machine;
      if (!e.live) return;
      this.serviceLive[e.service] |= 1 << e.candidate;
      asked[e.service].push(n as EndpointNumber);
    });
    this.serviceEndpoints = asked.map((list) => columnOf<EndpointNumber>(Int32Array.from(list)));
  }

  /** The endpoint of a candidate for a service, or -1. */
  endpointOf(service: ServiceNumber, candidate: CandidateNumber): EndpointNumber {
    return candidate < 0 ? NO_ENDPOINT : this.#endpointOf[service * MOST_RACED + candidate];
  }

  /** The machine that a candidate of a service is, or -1. */
  machineOf(service: ServiceNumber, candidate: CandidateNumber): MachineNumber {
    return this.#machineOf[service * MOST_RACED + candidate];
  }

  /** The candidate that a machine is in the races of a service, or -1. */
  candidateOf(service: ServiceNumber, machine: MachineNumber): CandidateNumber {
    if (service < 0 || machine < 0) return NO_CANDIDATE;
    const first = service * MOST_RACED;
    for (let c = 0 as CandidateNumber; c < MOST_RACED; c++)
      if (this.#machineOf[first + c] === machine) return c;
    return NO_CANDIDATE;
  }

  /** The service's address as the word of an IPv4 address. */
  serviceV4(service: ServiceNumber): number {
    return this.serviceWords[4 * service + 3];
  }

  /** The endpoint's address as the word of an IPv4 address. */
  endpointV4(endpoint: EndpointNumber): number {
    return this.endpointWords[4 * endpoint + 3];
  }

  /**
   * The endpoint of the tunnel to or from an address, for a service in configuration C; -1 where there is none.
   * @param words the address is in four words from `at` on
   */
  tunnelEnd(words: Int32Array, at: number, service: ServiceNumber): EndpointNumber {
    return this.endpoints.ofWords(words, at, tunnelPort(service));
  }

  /** The endpoint of the replica with this address that may be asked for a service, or -1. */
  endpointAt(service: ServiceNumber, address: number): EndpointNumber {
    const endpoints = this.serviceEndpoints[service];
    for (let k = 0; k < endpoints.length; k++)
      if (this.endpointCandidate[endpoints[k]] !== ORIGIN && this.endpointV4(endpoints[k]) === address)
        return endpoints[k];
    return NO_ENDPOINT;
  }

  /** Whether a replica of any service has this address. */
  isTunnelEnd(address: number): boolean {
    for (let s = 0 as ServiceNumber; s < this.serviceEndpoints.length; s++)
      if (this.endpointAt(s, address) >= 0) return true;
    return false;
  }

  /** The service to which a client's packet is addressed, or -1. */
  serviceFor(t: Tuples, i: number): ServiceNumber {
    return this.services.ofDestination(t, i);
  }

  /** The service of a flow, or -1. */
  serviceOfFlow(flows: FlowTable, e: FlowEntry): ServiceNumber {
    const port = flows.serviceOf(e, this.#address);
    return this.services.ofWords(this.#address, 0, port);
  }
  readonly #address = new Int32Array(4);

  /** The endpoint from which a packet comes, or -1. */
  endpointFrom(t: Tuples, i: number): EndpointNumber {
    return this.endpoints.ofSource(t, i);
  }
}
