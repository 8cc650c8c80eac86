/**
 * Which machines of a service are the candidates of its races, where there are more than a race can tell apart: the
 * nearest. Pure.
 */
import type { CandidateNumber, MachineNumber } from '../../src/flow/numbers.js';

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

/** A machine that is no candidate should be one when it is nearer than this many of the candidates. */
const FEW = 8;

interface Placed {
  service: number;
  machine: MachineNumber;
  candidate: CandidateNumber;
  up: boolean;
}

/**
 * Whether a machine that is no candidate is up and should be one: it is among the nearest few, a candidate is not up, or
 * those that cannot be measured have their next turn. One pass over all endpoints.
 */
export function areOutdated(
  endpoints: Iterable<Placed>,
  services: { readonly length: number },
  rttUsOf: (machine: MachineNumber) => number | undefined,
  hasTurned: boolean,
): boolean {
  const candidates: number[][] = Array.from({ length: services.length }, () => []);
  const nearestOther = new Float64Array(services.length).fill(Number.POSITIVE_INFINITY);
  const hasIdle = new Uint8Array(services.length);
  const others = new Uint8Array(services.length);
  const unmeasured = new Uint8Array(services.length);
  for (const { service, machine, candidate, up } of endpoints) {
    if (candidate === 0) continue;
    const rttUs = rttUsOf(machine);
    if (candidate > 0) {
      if (up) candidates[service].push(rttUs ?? Number.POSITIVE_INFINITY);
      else hasIdle[service] = 1;
    } else if (up) {
      others[service] = 1;
      if (rttUs === undefined) unmeasured[service] = 1;
      else if (rttUs < nearestOther[service]) nearestOther[service] = rttUs;
    }
  }
  return candidates.some((list, n) => {
    if (others[n] === 0) return false;
    if (hasIdle[n] === 1 || (hasTurned && unmeasured[n] === 1)) return true;
    const few = list.sort((a, b) => a - b)[Math.min(FEW, list.length) - 1] ?? Number.POSITIVE_INFINITY;
    return nearestOther[n] < few - Math.max(LEAST_US, SHARE * few);
  });
}
