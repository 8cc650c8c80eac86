/** What a gateway knows of a service and of a machine's place for it, and what others tell it of them. */
import type { CandidateNumber, MachineNumber, ServiceNumber } from '../../src/flow/numbers.js';
import type { Numbers } from '../../src/proximity/candidates.js';
import type { Configuration, ReplicaRecord } from '../../src/race/records.js';
import type { Release } from '../../src/race/release.js';
import type { PairKey, PairKeys } from '../../src/trust/pair-keys.js';
import type { Address } from '../../src/wire/address.js';

export interface KnownService {
  name: string;
  address: string;
  port: number;
  configuration: Configuration;
  release: Release | null;
  raced: boolean;
  /** For tags to its origin; undefined where they share no key, or where a replica shares none with the origin. */
  key?: PairKey;
  /** The first race in which the number means this service. */
  since: number;
  /** The machines that its races can name. */
  candidates: Numbers<CandidateNumber>;
  /** The number of finished walks when it left the registry; undefined while it is in it. */
  goneSince: number | undefined;
}

export interface KnownEndpoint {
  service: ServiceNumber;
  machine: MachineNumber;
  /** Its number in the service's races; -1 while it is not asked. */
  candidate: CandidateNumber;
  /** The machine's id. */
  id: string;
  address: string;
  /** The same. */
  words: Address;
  port: number;
  /** Whether the machine says that it takes connections. */
  up: boolean;
  /** Whether it is raced: up and not ejected. */
  live: boolean;
  load: number;
  /** How many trials were ordered, while it is up and ejected. */
  trials: number;
  /** The machine has another address or port by now; its connections do not. */
  isFormer?: boolean;
  /** For what this gateway sends to the machine; undefined where they share no key. */
  key?: PairKey;
}

/** What the judge says about the machines of a service (`judge.ts`). */
export interface Judged {
  trialsOf(service: ServiceNumber, candidate: CandidateNumber): number | undefined;
  suspectsOf(service: ServiceNumber): number;
}
export const NOT_JUDGED: Judged = { trialsOf: () => undefined, suspectsOf: () => 0 };

/** With which keys this gateway makes tags. */
export interface Tagging {
  pairs: PairKeys | undefined;
  /** Whether it has a key that every machine with the fleet's master keys can check. */
  hasOwnKey: boolean;
}

/** Loads are rounded to steps, so that small changes do not reload the data plane. */
export const LOAD_STEP = 0.05;

/** Former endpoints of one machine for one service that are remembered. */
export const MOST_FORMER = 4;

export const formerKey = (e: Pick<KnownEndpoint, 'service' | 'machine' | 'address' | 'port'>): string =>
  `${e.service}/${e.machine}/${e.address}:${e.port}`;

export const rankOf = (e: KnownEndpoint): number => (e.live ? 2 : e.isFormer === true ? 0 : 1);

/** The ids of the replicas that are up, by address. */
export function idsByAddress(endpoints: Iterable<KnownEndpoint>): Map<string, Set<string>> {
  const groups = new Map<string, Set<string>>();
  for (const { address, id, up } of endpoints) {
    if (!up) continue;
    const ids = groups.get(address);
    if (ids === undefined) groups.set(address, new Set([id]));
    else ids.add(id);
  }
  return groups;
}

/** The properties of a replica in /v1/status. */
export function describeReplica(r: ReplicaRecord): Record<string, unknown> {
  const { id, address, state, reason, load, services } = r;
  return { id, address, state, reason, load, services };
}

/** The properties of a service in /v1/status. */
export function describeService(s: KnownService): Record<string, unknown> {
  const { name, address, port, configuration, raced } = s;
  return { name, address, port, configuration, raced };
}
