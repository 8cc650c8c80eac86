/**
 * The IPv6 half of a steering: the same marks lead to the same TUN, by rules and routes of IPv6's own. A table has the
 * same number in both families.
 */
import { LOCAL_RULE_MOVED, routesV6, ruleArguments, type Source, type Steering, sourceRule } from './plan.js';
import { type Deviation, isRoute, type ListedRoute, type ListedRule, ruleDeviations } from './standing.js';
import { attempt, command } from './tools.js';

type Place = Pick<Steering, 'mark' | 'tunnelMark' | 'mask' | 'table' | 'tunnelTable' | 'priority'>;

export async function applyV6(s: Steering): Promise<void> {
  await routeV6(s);
  for (const rule of ruleArguments(s)) await command('ip', ['-6', 'rule', 'add', ...rule]);
  if (!s.beforeLocal || !(await hasLocalRule(0))) return;
  // Adds the new rule before it deletes the old one, so that the host is never without its local table.
  if (!(await hasLocalRule(LOCAL_RULE_MOVED)))
    await command('ip', ['-6', 'rule', 'add', ...local(LOCAL_RULE_MOVED)]);
  await command('ip', ['-6', 'rule', 'del', ...local(0)]);
}

export async function routeV6(s: Steering): Promise<void> {
  for (const route of routesV6(s)) await command('ip', ['-6', 'route', 'replace', ...route]);
}

/** Makes the rules of sources those that are wanted. */
export async function applySources(
  s: Steering,
  before: readonly Source[],
  wanted: readonly Source[],
): Promise<void> {
  const ip = (verb: string, x: Source): Promise<unknown> =>
    (verb === 'add' ? command : attempt)('ip', ['-6', 'rule', verb, ...sourceRule(s, x)]);
  for (const x of before) if (!has(wanted, x)) await ip('del', x);
  for (const x of wanted) if (!has(before, x)) await ip('add', x);
}

const has = (list: readonly Source[], { address, port }: Source): boolean =>
  list.some((x) => x.address === address && x.port === port);

const local = (pref: number): string[] => ['pref', String(pref), 'lookup', 'local'];

async function hasLocalRule(pref: number): Promise<boolean> {
  return (await command('ip', ['-6', 'rule', 'show', ...local(pref)])).trim() !== '';
}

/**
 * Does nothing where nothing is left.
 * @param moved whether the local table's rule was moved, and is no longer wanted there
 */
export async function removeV6(s: Place, sources: readonly Source[], moved: boolean): Promise<void> {
  // A role that was killed and started again may have added the rules twice.
  for (const rule of [...ruleArguments(s), ...sources.map((x) => sourceRule(s, x))])
    while (await attempt('ip', ['-6', 'rule', 'del', ...rule]));
  for (const table of [s.table, s.tunnelTable])
    await attempt('ip', ['-6', 'route', 'flush', 'table', String(table)]);
  if (!moved || (await hasLocalRule(0))) return;
  await attempt('ip', ['-6', 'rule', 'add', ...local(0)]);
  await attempt('ip', ['-6', 'rule', 'del', ...local(LOCAL_RULE_MOVED)]);
}

export async function deviationsV6(s: Steering): Promise<Deviation[]> {
  const listed = JSON.parse(await command('ip', ['-6', '-N', '-j', 'rule', 'show'])) as ListedRule[];
  const out = ruleDeviations(listed, ruleArguments(s), s.beforeLocal, ['-6']);
  for (const source of s.v6Sources ?? []) {
    const rule = sourceRule(s, source);
    const isIt = (r: ListedRule): boolean =>
      r.src === source.address && r.sport === source.port && r.table === String(s.tunnelTable);
    if (listed.some(isIt)) continue;
    out.push({
      ...{ what: 'rule', subject: `ip -6 rule ${rule.join(' ')}`, detail: 'was removed' },
      repair: async () => void (await command('ip', ['-6', 'rule', 'add', ...rule])),
    });
  }
  for (const route of routesV6(s)) {
    const table = ['-6', '-N', '-j', 'route', 'show', 'table', route[route.indexOf('table') + 1]];
    const routes = JSON.parse((await command('ip', table).catch(() => '')) || '[]') as ListedRoute[];
    if (isRoute(routes, route)) continue;
    out.push({
      ...{ what: 'route', subject: `ip -6 route ${route.join(' ')}`, detail: 'was removed or changed' },
      repair: async () => void (await command('ip', ['-6', 'route', 'replace', ...route])),
    });
  }
  return out;
}
