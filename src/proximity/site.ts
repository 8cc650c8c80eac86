/**
 * What the gateways of one site tell each other. Round trips are measured from the gateway, so a measurement of one
 * gateway is valid for the clients of another gateway beside it. A new gateway, or one that sees a client prefix for
 * the first time, then need not race.
 */

import type { CandidateNumber, ServiceNumber } from '../flow/numbers.js';
import type { View } from '../registry/kinds.js';
import type { Numbers } from './candidates.js';
import { readLearned } from './learned-table.js';
import { type ProximityRecord, proximityKind } from './record.js';

/** What another gateway of the site has measured, with this gateway's numbers. */
export interface Seed {
  service: ServiceNumber;
  candidate: CandidateNumber;
  rttUs: number;
  variationUs: number;
}

/** The numbers and names of a gateway's candidates and services. */
export interface Named {
  readonly services: readonly { readonly name: string; readonly candidates: Numbers<CandidateNumber> }[];
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
      const candidate = named.services[n]?.candidates.idOf(c.candidate);
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
 * How far what another gateway tells may differ from what this one has measured by its probes: they share a site, so they
 * share its paths. What differs more is taken for the bound: a gateway that tells wrong times moves few connections.
 */
const LEAST_SHARE = 0.8;
const MOST_TIMES = 2;
const MOST_ABOVE_US = 20_000;

function bounded(rttUs: number, ownUs: number | undefined): number {
  if (ownUs === undefined) return rttUs;
  return Math.min(Math.max(rttUs, LEAST_SHARE * ownUs), MOST_TIMES * ownUs + MOST_ABOVE_US);
}

/**
 * The measurements of the site's other gateways for machines that this gateway knows. A machine that left long ago
 * gets no number through them.
 * @param ownUs by a machine's id: the round trip that this gateway's own probes have measured
 */
export function seedsOf(
  view: View,
  id: number,
  site: string | undefined,
  named: Named,
  ownUs: Pick<ReadonlyMap<string, number>, 'get'> = new Map(),
): Seed[] {
  return view
    .of(proximityKind)
    .filter((p) => p.site === site && p.id !== id)
    .flatMap((p) =>
      p.entries.flatMap((e) => {
        const rttUs = bounded(e.rttUs, ownUs.get(e.candidate));
        return named.services.flatMap((s, n) => {
          const candidate = s.name === e.service ? s.candidates.find(e.candidate) : undefined;
          return candidate !== undefined
            ? [{ service: n as ServiceNumber, candidate, rttUs, variationUs: Math.min(e.variationUs, rttUs) }]
            : [];
        });
      }),
    );
}
