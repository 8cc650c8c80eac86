/**
 * What the gateways of one site tell each other. Round trips are measured from the gateway, so a measurement of one
 * gateway is valid for the clients of another gateway beside it. A new gateway, or one that sees a client prefix for
 * the first time, then need not race.
 */

import type { CandidateNumber, ServiceNumber } from '../flow/numbers.js';
import type { View } from '../registry/kinds.js';
import type { Candidates } from './candidates.js';
import { readLearned } from './learned-table.js';
import { type ProximityRecord, proximityKind } from './record.js';

/** What another gateway of the site has measured, with this gateway's numbers. */
export interface Seed {
  service: ServiceNumber;
  candidate: CandidateNumber;
  rttUs: number;
  variationUs: number;
}

/** The numbers and names of a gateway's machines and services. */
export interface Named {
  readonly candidates: Candidates;
  readonly services: readonly { readonly name: string }[];
}

type Entry = ProximityRecord['entries'][number];

/** This gateway's record: for each machine, the measurement with the most samples. */
export function proximityRecord(
  id: number,
  site: string,
  table: Float64Array,
  named: Named,
): ProximityRecord {
  const best = new Map<string, { samples: number; entry: Entry }>();
  for (const { service: n, candidates } of readLearned(table))
    for (const c of candidates) {
      const service = named.services[n]?.name;
      const candidate = named.candidates.idOf(c.candidate);
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

/**
 * The measurements of the site's other gateways for machines that this gateway knows. A machine that left long ago
 * gets no number through them.
 */
export function seedsOf(view: View, id: number, site: string | undefined, named: Named): Seed[] {
  return view
    .of(proximityKind)
    .filter((p) => p.site === site && p.id !== id)
    .flatMap((p) =>
      p.entries.flatMap((e) => {
        const candidate = named.candidates.find(e.candidate);
        if (candidate === undefined) return [];
        return named.services.flatMap((s, n) =>
          s.name === e.service
            ? [{ service: n as ServiceNumber, candidate, rttUs: e.rttUs, variationUs: e.variationUs }]
            : [],
        );
      }),
    );
}
