/** The plan for the origin's data plane: which replicas get copies of a service's SYNs, and when. */

import type { CandidateNumber } from '../../src/flow/numbers.js';
import { MOST_RACED, type Numbers, ORIGIN } from '../../src/proximity/candidates.js';
import type { Holders } from '../../src/race/holders.js';
import type { PairedKey } from '../../src/race/keyring.js';
import { type RaceService, type ReplicaRecord, replicaKind } from '../../src/race/records.js';
import { type Release, schedule } from '../../src/race/release.js';
import { keyToward, type Receiver, tagSenders } from '../../src/race/tag-senders.js';
import type { View } from '../../src/registry/kinds.js';
import type { NextHops } from '../../src/steer/next-hops.js';
import { type Address, parse } from '../../src/wire/address.js';
import type { OriginService } from './config.js';
import type { Servers } from './servers.js';
import type { OriginServicePlan, OriginSnapshot } from './state.js';

const words = (text: string): Address => parse(text) as Address;
const bit = (candidate: CandidateNumber): number => (candidate < MOST_RACED ? 1 << candidate : 0);

export interface PlanInput {
  address: string;
  release: Release;
  receiver: Receiver;
  candidates: Numbers<CandidateNumber>;
  holders: Holders;
  servers: Servers;
  /** The services of the file, with their present servers. */
  ours: readonly OriginService[];
  services: readonly RaceService[];
  /** By replica id, µs; a replica whose distance is not measured is not raced (ADR 4). */
  distancesUs: ReadonlyMap<string, number>;
}

export function snapshotOf(input: PlanInput, view: View): OriginSnapshot {
  return {
    address: words(input.address),
    gateways: tagSenders(view, input.receiver),
    services: input.services.flatMap((service) => plansOf(input, view, service)),
  };
}

function plansOf(input: PlanInput, view: View, service: RaceService): OriginServicePlan[] {
  const { candidates, release, distancesUs } = input;
  const able = view.of(replicaKind).filter((r) => whyNotRaced(input, view, service, r) === '');
  const live = service.replicable ? able : [];
  const remote = remoteOf(input, service, able);
  const plan = schedule(
    release,
    live.map((r) => distancesUs.get(r.id) ?? 0),
    service.raceWindowMs * 1000,
  );
  const asked = [
    ...live.map((r) => candidates.numberOf(r.id)),
    ...(remote?.servers.map((s) => s.candidate) ?? []),
  ];
  return service.ports.map((port) => ({
    address: words(service.address),
    port,
    replicable: service.replicable,
    serverDelayUs: plan.serverDelayUs,
    copies: live.map((r, i) => ({
      address: words(r.address),
      delayUs: plan.delayUs[i],
      candidate: candidates.numberOf(r.id),
      ...pairedWith(input, r),
    })),
    spoofing: service.configuration === 'B' ? carriers(view, service).map((r) => words(r.address)) : [],
    candidates: asked.reduce((bits, candidate) => bits | bit(candidate), bit(ORIGIN)),
    ...(remote === undefined ? {} : { remote }),
  }));
}

function pairedWith({ receiver }: PlanInput, r: ReplicaRecord): { key?: PairedKey } {
  const key = keyToward(r, receiver.pairs);
  return key === undefined ? {} : { key: { id: key.id, key: Int32Array.from(key.words) } };
}

/** The replicas that carry a service, whatever their state. */
function carriers(view: View, service: RaceService): ReplicaRecord[] {
  return view.of(replicaKind).filter((r) => r.services.some((s) => s.name === service.name));
}

/** The reason why a replica takes no part in this service's races; '' when it does. */
export function whyNotRaced(
  { holders, distancesUs }: Pick<PlanInput, 'holders' | 'distancesUs'>,
  view: View,
  service: RaceService,
  r: ReplicaRecord,
): string {
  if (!r.services.some((s) => s.name === service.name)) return 'does not carry the service';
  if (r.state !== 'up') return `${r.state}${r.reason === '' ? '' : `: ${r.reason}`}`;
  const conflict = holders.conflictOf(view, r);
  if (conflict !== undefined) return conflict;
  if (distancesUs.has(r.id)) return '';
  return 'its distance is not known: it does not answer probes (UDP 7417)';
}

/** The remote servers of a service, and the connections that are assigned to them. */
function remoteOf(
  input: PlanInput,
  service: RaceService,
  able: readonly ReplicaRecord[],
): OriginServicePlan['remote'] {
  const { ours, servers: all, candidates } = input;
  const own = ours.find((s) => s.name === service.name)!;
  const servers = own.servers ?? [];
  const remote = servers.filter((s) => able.some((r) => r.id === s.replica));
  if (remote.length === 0) return undefined;
  const place = servers.map((s) => remote.indexOf(s));
  const slots = all.allSlots(own, (id) => able.some((r) => r.id === id));
  return {
    slots: slots.map((server) => (server < 0 ? -1 : place[server])),
    servers: remote.map(({ replica }) => {
      const record = able.find((r) => r.id === replica)!;
      const candidate = candidates.numberOf(record.id);
      return { address: words(record.address), candidate, ...pairedWith(input, record) };
    }),
  };
}

/** The adjacent servers of all services, and the connections that are assigned to each. */
export function adjacentServers(
  ours: readonly OriginService[],
  all: Servers,
  seed: number,
): Pick<NextHops, 'servers' | 'services' | 'seed'> {
  const servers = [...new Set(ours.flatMap((s) => (s.servers ?? []).flatMap((x) => x.address ?? [])))];
  return {
    seed,
    servers,
    services: ours.flatMap((service) => {
      const own = service.servers ?? [];
      if (!own.some((s) => s.address !== undefined)) return [];
      const place = own.map((s) => (s.address === undefined ? -1 : servers.indexOf(s.address)));
      const slots = all.slots(service).map((server) => (server < 0 ? -1 : place[server]));
      return service.ports.map((port) => ({ address: service.address, port, slots }));
    }),
  };
}
