/**
 * What gateways of one site tell each other. Round trips are measured from the gateway, so what one has
 * measured holds for the clients of another beside it: a new gateway, or a client never seen, need not race.
 */

import type { Fleet } from '../../gateway/race/fleet.js';
import type { Seed } from '../../gateway/race/state.js';
import type { ProximityRecord, View } from '../registry/records.js';
import { readLearned } from './learned.js';

type Entry = ProximityRecord['entries'][number];

/** This gateway's record: of each machine, what was measured most often. */
export function proximityRecord(
  id: number,
  site: string,
  table: Float64Array,
  fleet: Fleet,
): ProximityRecord {
  const best = new Map<string, { samples: number; entry: Entry }>();
  for (const { service: n, candidates } of readLearned(table))
    for (const c of candidates) {
      const service = fleet.service(n)?.name;
      const candidate = fleet.candidates.idOf(c.candidate);
      const key = `${service}/${candidate}`;
      if (service === undefined || c.samples === 0 || (best.get(key)?.samples ?? 0) >= c.samples) continue;
      const entry = {
        service,
        candidate,
        rttUs: Math.round(c.rttUs),
        variationUs: Math.round(c.variationUs),
      };
      best.set(key, { samples: c.samples, entry });
    }
  return { v: 1, id, site, entries: [...best.values()].map((b) => b.entry) };
}

/** What the others of the site have told, in this data plane's numbers. */
export function seedsOf(view: View, id: number, site: string | undefined, fleet: Fleet): Seed[] {
  return (view.proximities ?? [])
    .filter((p) => p.site === site && p.id !== id)
    .flatMap((p) =>
      p.entries.flatMap((e) =>
        fleet.services.flatMap((s, service) => {
          if (s.name !== e.service) return [];
          return [
            {
              service,
              candidate: fleet.candidates.slotOf(e.candidate),
              rttUs: e.rttUs,
              variationUs: e.variationUs,
            },
          ];
        }),
      ),
    );
}
