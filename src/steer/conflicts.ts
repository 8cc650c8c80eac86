/** What an instance's steering shares with other instances and other software of this host, before it is applied. */
import { existsSync, readdirSync } from 'node:fs';
import type { Problem } from '../errors.js';
import type { Steering } from './plan.js';
import { isAlive, ownNamespace, RUN_DIRECTORY, readRecord } from './record.js';
import { type ListedRule, listRules } from './standing.js';

type Place = Pick<Steering, 'tun' | 'mark' | 'tunnelMark' | 'mask' | 'table' | 'tunnelTable'>;

const hex = (n: number): string => `0x${(n >>> 0).toString(16)}`;

/** Whether two owners use the same bits of a mark for the same value. Bits of other owners are left alone. */
const meets = (a: number, maskA: number, b: number, maskB: number): boolean =>
  (maskA & maskB) !== 0 && ((a ^ b) & maskA & maskB) === 0;

/** @returns FSA_STEERING_TAKEN for each thing that is taken */
export async function conflicts(s: Steering): Promise<Problem[]> {
  const others = living(s.instance);
  // What this instance's killed predecessor has set goes with the claim.
  const own = readRecord(s.instance);
  const rules = await listRules();
  return [
    ...others.flatMap(({ instance, place }) => sharedWith(s, instance, place)),
    ...sharedWithRules(s, rules, [...others.map((o) => o.place), ...(own === undefined ? [] : [own])]),
  ];
}

/** The running instances of this network namespace besides this one. */
function living(instance: string): { instance: string; place: Place }[] {
  if (!existsSync(RUN_DIRECTORY)) return [];
  return readdirSync(RUN_DIRECTORY).flatMap((name) => {
    const record = name === instance ? undefined : readRecord(name);
    return record !== undefined && record.namespace === ownNamespace() && isAlive(record.pid, record.started)
      ? [{ instance: name, place: record }]
      : [];
  });
}

/** @param other the other instance's name */
export function sharedWith(s: Place, other: string, place: Place): Problem[] {
  const taken: string[] = [];
  if (s.tun === place.tun) taken.push(`tun.name ${s.tun}`);
  for (const table of new Set([s.table, s.tunnelTable]))
    if ([place.table, place.tunnelTable].includes(table)) taken.push(`routing table ${table}`);
  for (const mark of [s.mark, s.tunnelMark])
    if ([place.mark, place.tunnelMark].some((m) => meets(mark, s.mask, m, place.mask)))
      taken.push(`mark ${hex(mark)}/${hex(s.mask)}`);
  return taken.length === 0
    ? []
    : [
        {
          code: 'FSA_STEERING_TAKEN',
          message: `steering: ${taken.join(', ')} belong to instance ${other} of this host: give this one others`,
        },
      ];
}

/** Policy rules of other software that would take this instance's packets, or lead to its tables. */
export function sharedWithRules(s: Place, rules: readonly ListedRule[], known: readonly Place[]): Problem[] {
  const ours = new Set([s, ...known].flatMap((p) => [String(p.table), String(p.tunnelTable)]));
  return rules.flatMap((r): Problem[] => {
    const mark = Number(r.fwmark ?? 0);
    if (r.fwmark === undefined || mark === 0 || ours.has(r.table ?? '')) return [];
    const mask = Number(r.fwmask ?? 0xffffffff);
    const met = [s.mark, s.tunnelMark].find((m) => meets(m, s.mask, mark, mask));
    if (met === undefined) return [];
    return [
      {
        code: 'FSA_STEERING_TAKEN',
        message: `steering: mark ${hex(met)}/${hex(s.mask)} is used by other software: ip rule pref ${r.priority} fwmark ${hex(mark)}/${hex(mask)} lookup ${r.table}`,
      },
    ];
  });
}
