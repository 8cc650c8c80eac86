/**
 * Which machines of a service are the candidates of its races, where there are more than a race can tell apart: the
 * nearest. Pure.
 */

/** A replica that is up. */
export interface Contender {
  id: string;
  /** Its round trip from this gateway; undefined while it is not measured. */
  rttUs: number | undefined;
  /** Whether it is a candidate now. */
  isCandidate: boolean;
  /** Whether it is being judged: a machine that is ejected is tried again. */
  isEjected: boolean;
}

/** Places for machines that are not measured yet: races may tell of them. */
const UNMEASURED = 8;
/** A machine that comes nearer than a candidate replaces it when it is nearer by this share, and this time. */
const SHARE = 0.1;
const LEAST_US = 500;

/**
 * @param most the number of candidates beside the origin
 * @param turn rises with time: other machines that cannot be measured get their turn
 * @returns the ids of those that should be candidates
 */
export function nearest(contenders: readonly Contender[], most: number, turn = 0): Set<string> {
  if (contenders.length <= most) return new Set(contenders.map((c) => c.id));
  const out = new Set(contenders.filter((c) => c.isEjected && c.isCandidate).map((c) => c.id));
  const rest = contenders.filter((c) => !out.has(c.id));
  const unmeasured = rest.filter((c) => c.rttUs === undefined);
  const measured = rest
    .flatMap(({ rttUs, ...c }) => (rttUs === undefined ? [] : [{ ...c, rttUs }]))
    .sort((a, b) => weight(a) - weight(b));
  const tried = Math.max(Math.min(UNMEASURED, unmeasured.length), most - out.size - measured.length);
  for (const { id } of measured.slice(0, Math.max(0, most - out.size - tried))) out.add(id);
  for (let k = 0; k < unmeasured.length && out.size < most; k++)
    out.add(unmeasured[(turn * UNMEASURED + k) % unmeasured.length].id);
  return out;
}

/** A candidate's time counts as a little shorter, so that two machines at one distance do not change places for ever. */
function weight({ rttUs, isCandidate }: { rttUs: number; isCandidate: boolean }): number {
  return isCandidate ? rttUs - Math.max(LEAST_US, SHARE * rttUs) : rttUs;
}
