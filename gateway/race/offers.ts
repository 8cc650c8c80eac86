/** Which replicas offer which service. */
import { type ReplicaRecord, type ReplicaService, replicaKind } from '../../src/race/records.js';
import type { View } from '../../src/registry/kinds.js';

/** A service that a replica offers. */
export interface Offer {
  replica: ReplicaRecord;
  offer: ReplicaService;
}

/** The offers of each service, by its name. */
export function offersByService(view: View): Map<string, Offer[]> {
  const offers = new Map<string, Offer[]>();
  for (const replica of view.of(replicaKind))
    for (const offer of replica.services) {
      const list = offers.get(offer.name);
      if (list === undefined) offers.set(offer.name, [{ replica, offer }]);
      else if (list.at(-1)!.replica !== replica) list.push({ replica, offer });
    }
  return offers;
}
