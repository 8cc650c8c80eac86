/**
 * The gateway's memory of services and machines: numbers that never change hands, and endpoints that
 * stay known after they left the registry, so that the flows they carry are finished.
 */

import { Candidates, ORIGIN } from '../../src/proximity/candidates.js';
import { MODES } from '../../src/race/modes.js';
import type { Race, Release } from '../../src/race/release.js';
import {
  type Configuration,
  endpointConflict,
  type ReplicaRecord,
  type ReplicaService,
  replicaPort,
  type View,
} from '../../src/registry/records.js';
import { type Address, parse } from '../../src/wire/address.js';
import type { Endpoint, GatewaySnapshot } from './state.js';

const RACE_NUMBERS: Record<Race, GatewaySnapshot['race']> = { origin: 0, gateway: 1, learned: 2 };

interface KnownService {
  name: string;
  address: string;
  port: number;
  configuration: Configuration;
  release: Release | null;
  raced: boolean;
}

interface KnownEndpoint {
  service: number;
  candidate: number;
  address: string;
  port: number;
  live: boolean;
  load: number;
}

/** What a replica carries of a service. */
interface Offer {
  replica: ReplicaRecord;
  offer: ReplicaService;
}

function offersByService(view: View): Map<string, Offer[]> {
  const offers = new Map<string, Offer[]>();
  for (const replica of view.replicas)
    for (const offer of replica.services) {
      const list = offers.get(offer.name);
      if (list === undefined) offers.set(offer.name, [{ replica, offer }]);
      else if (list.at(-1)!.replica !== replica) list.push({ replica, offer });
    }
  return offers;
}

/** Loads are told in steps: not every flicker is news for the data plane. */
const LOAD_STEP = 0.05;

export class Fleet {
  readonly candidates = new Candidates();

  readonly #services: KnownService[] = [];
  /** By `service/candidate`. */
  readonly #endpoints = new Map<string, KnownEndpoint>();

  #ejected: (candidate: number) => boolean = () => false;

  constructor(readonly race: Race = 'origin') {}

  /** Takes over what the registry says now. `told` is the configuration that the flag asks for. */
  update(
    view: View,
    told: Configuration | undefined,
    ejected: (candidate: number) => boolean = () => false,
  ): void {
    this.#ejected = ejected;
    for (const s of this.#services) s.raced = false;
    for (const e of this.#endpoints.values()) e.live = false;
    const offers = offersByService(view);
    for (const record of view.services) {
      if (told !== undefined && record.configuration !== told) continue;
      const origin = view.origins?.find((o) => o.services.includes(record.name));
      const alive = view.origins === undefined || origin !== undefined;
      for (const port of record.ports) {
        const n = this.#number(record.address, port, record.name, record.configuration);
        const service = this.#services[n];
        service.release = origin?.release ?? null;
        this.#know(n, ORIGIN, record.address, port, true, 0);
        const live = this.#replicas(view, offers.get(record.name) ?? [], n, port);
        // A race of the gateway's own needs no origin role.
        // One that is not replicable may have a remote server: its origin's tagged SYN reaches it, no other does.
        const remote =
          this.race === 'origin' && record.servers?.some((x) => x.replica !== undefined) === true;
        service.raced = (alive || this.race !== 'origin') && (record.replicable || remote) && live;
      }
    }
  }

  /** Makes the replicas of a service known. @returns whether one of them takes part in races */
  #replicas(view: View, offers: readonly Offer[], n: number, port: number): boolean {
    let any = false;
    for (const { replica, offer } of offers) {
      if (endpointConflict(view, replica) !== undefined) continue;
      const live = replica.state === 'up' && !this.#ejected(this.candidates.slotOf(replica.id));
      const load = Math.round(Math.min(1, replica.load) / LOAD_STEP) * LOAD_STEP;
      const slot = this.candidates.slotOf(replica.id);
      this.#know(n, slot, replica.address, replicaPort(offer, port), live, load);
      any ||= live;
    }
    return any;
  }

  #number(address: string, port: number, name: string, configuration: Configuration): number {
    let n = this.#services.findIndex((s) => s.address === address && s.port === port);
    if (n < 0)
      n = this.#services.push({ name, address, port, configuration, release: null, raced: false }) - 1;
    this.#services[n].name = name;
    this.#services[n].configuration = configuration;
    return n;
  }

  #know(
    service: number,
    candidate: number,
    address: string,
    port: number,
    live: boolean,
    load: number,
  ): void {
    this.#endpoints.set(`${service}/${candidate}`, { service, candidate, address, port, live, load });
  }

  service(n: number): KnownService | undefined {
    return this.#services[n];
  }
  get services(): readonly KnownService[] {
    return this.#services;
  }

  /** The machines of each service, the origin among them. */
  candidatesByService(): number[][] {
    const lists: number[][] = this.#services.map(() => []);
    for (const e of this.#endpoints.values()) lists[e.service].push(e.candidate);
    return lists;
  }

  usesTunnel(): boolean {
    return this.#services.some((s) => s.configuration === 'C');
  }

  /** @param suspects bits of the candidates that some connections should spare (`outliers.ts`) */
  snapshot(
    wanMtu: number,
    tunnelMss: number,
    suspects = 0,
    seeds: GatewaySnapshot['seeds'] = [],
  ): GatewaySnapshot {
    const words = (text: string): Address => parse(text) as Address;
    const endpoints: Endpoint[] = [...this.#endpoints.values()].map((e) => ({
      ...e,
      address: words(e.address),
    }));
    // A live claim on an address and port comes after, and so before, a remembered one.
    endpoints.sort((a, b) => Number(a.live) - Number(b.live));
    return {
      seeds,
      suspects,
      race: RACE_NUMBERS[this.race],
      services: this.#services.map((s) => ({
        address: words(s.address),
        port: s.port,
        mode: MODES[s.configuration],
        raced: s.raced,
      })),
      endpoints,
      tunnelMss,
      wanMtu,
    };
  }

  /** Elements of the nftables sets: services, those of them under C, replica endpoints, tunnel sources. */
  steered(): { services: string[]; tunnelled: string[]; endpoints: string[]; tunnels: string[] } {
    const replicas = [...this.#endpoints.values()].filter((e) => e.candidate !== ORIGIN);
    const configuration = (e: KnownEndpoint): Configuration => this.#services[e.service].configuration;
    return {
      services: this.#services.map((s) => `${s.address} . ${s.port}`),
      tunnelled: this.#services.filter((s) => s.configuration === 'C').map((s) => `${s.address} . ${s.port}`),
      endpoints: replicas.filter((e) => configuration(e) !== 'C').map((e) => `${e.address} . ${e.port}`),
      tunnels: [
        ...replicas.filter((e) => configuration(e) === 'C').map((e) => e.address),
        ...this.#services.filter((s) => s.configuration === 'B').map((s) => s.address),
      ],
    };
  }
}

/** What /v1/status says of a replica. */
export function describeReplica(r: ReplicaRecord): Record<string, unknown> {
  return { id: r.id, address: r.address, state: r.state, reason: r.reason, load: r.load };
}
