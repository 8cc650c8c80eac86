/** Which endpoints replicas claim, and which claims contradict each other. */
import type { View } from '../registry/kinds.js';
import {
  addressFor,
  type RaceService,
  type ReplicaRecord,
  raceServices,
  replicaKind,
  replicaPort,
} from './records.js';

type Claimant = Pick<ReplicaRecord, 'id' | 'address' | 'address6' | 'services'>;

/** Endpoints, each with the service for which a replica claims it. */
function claimsOf(services: ReadonlyMap<string, RaceService>, r: Claimant): [string, string][] {
  return r.services.flatMap((s) => {
    const service = services.get(s.name);
    if (service === undefined || service.configuration === 'C') return [];
    const address = addressFor(service, r);
    if (address === undefined) return [];
    return service.ports.map((p): [string, string] => [`${address}:${replicaPort(s, p)}`, s.name]);
  });
}

interface Claims {
  /** What it was put together from. */
  records: readonly ReplicaRecord[];
  services: Map<string, RaceService>;
  /** By endpoint: the replicas that claim it, and for which service. */
  owners: Map<string, { id: string; service: string }[]>;
}

const gathered = new WeakMap<View, Claims>();
let last: Claims | undefined;
/** What each record claims, as long as the services are the same: in a large fleet most records are those of the view before. */
let claimed = new WeakMap<Claimant, [string, string][]>();
let claimedFor = '';

function claimsBy(services: ReadonlyMap<string, RaceService>, r: Claimant): [string, string][] {
  let claims = claimed.get(r);
  if (claims === undefined) {
    claims = claimsOf(services, r);
    claimed.set(r, claims);
  }
  return claims;
}

function claimsIn(view: View): Claims {
  let claims = gathered.get(view);
  if (claims === undefined) {
    const services = raceServices(view);
    const text = JSON.stringify(services.map((s) => [s.name, s.address, s.ports, s.configuration]));
    const records = view.of(replicaKind);
    if (text !== claimedFor) claimed = new WeakMap();
    else if (last !== undefined && claimTheSame(last, records)) {
      last.records = records;
      gathered.set(view, last);
      return last;
    }
    claimedFor = text;
    claims = { records, services: new Map(services.map((s) => [s.name, s])), owners: new Map() };
    last = claims;
    for (const r of records)
      for (const [endpoint, service] of claimsBy(claims.services, r)) {
        const owners = claims.owners.get(endpoint);
        if (owners === undefined) claims.owners.set(endpoint, [{ id: r.id, service }]);
        else owners.push({ id: r.id, service });
      }
    gathered.set(view, claims);
  }
  return claims;
}

/** Whether records claim what those of the last view did: most changes are of loads and states. */
function claimTheSame({ records, services }: Claims, now: readonly ReplicaRecord[]): boolean {
  return (
    records.length === now.length &&
    records.every((before, i) => {
      const r = now[i];
      if (before === r) return true;
      if (before.id !== r.id) return false;
      const [a, b] = [claimsBy(services, before), claimsBy(services, r)];
      return a.length === b.length && a.every(([at, name], n) => at === b[n][0] && name === b[n][1]);
    })
  );
}

/** By endpoint: the replicas that claim it. The same map as before, where nothing about it has changed. */
export const ownersIn = (view: View): ReadonlyMap<string, readonly { id: string }[]> => claimsIn(view).owners;

/**
 * Under configurations A and B a replica's (address, port) belongs to exactly one service, because translation maps
 * the tuples C→S1 and C→S2 to the same tuple. The view must not be changed after this call.
 * @param holderOf the replica that holds an endpoint against others
 * @returns the conflict that prevents adding `replica`, or undefined
 */
export function endpointConflict(
  view: View,
  replica: Claimant,
  holderOf: (endpoint: string) => string | undefined = () => undefined,
): string | undefined {
  const { services, owners } = claimsIn(view);
  const own = new Map<string, string>();
  for (const [endpoint, service] of claimsBy(services, replica)) {
    const isHeld = holderOf(endpoint) === replica.id;
    const other = isHeld ? undefined : owners.get(endpoint)?.findLast((o) => o.id !== replica.id);
    const taken = own.get(endpoint) ?? (other && `${other.service} (replica ${other.id})`);
    if (taken !== undefined) return `${endpoint} for service ${service} is already taken by ${taken}`;
    own.set(endpoint, service);
  }
  return undefined;
}
