/**
 * The IPv6 half of a steering: the same marks lead to the same TUN, by rules and routes of IPv6's own. A table has the
 * same number in both families.
 */
import { LOCAL_RULE_MOVED, routesV6, ruleArguments, type Source, type Steering, sourceRule } from './plan.js';
import {
  type Deviation,
  isRoute,
  type ListedRoute,
  type ListedRule,
  listRules,
  moveLocal,
  removalOf,
  ruleDeviations,
} from './standing.js';
import { attemptBatch, batch, command } from './tools.js';

type Place = Pick<Steering, 'mark' | 'tunnelMark' | 'mask' | 'table' | 'tunnelTable' | 'priority'>;

const FAMILY = ['-6'];

export async function applyV6(s: Steering): Promise<void> {
  const listed = s.beforeLocal ? await listRules(FAMILY) : [];
  await batch(
    'ip',
    [
      ...routesV6(s).map((route) => ['route', 'replace', ...route]),
      ...ruleArguments(s).map((rule) => ['rule', 'add', ...rule]),
      ...(s.beforeLocal ? moveLocal(listed, 0, LOCAL_RULE_MOVED) : []),
    ],
    FAMILY,
  );
}

export async function routeV6(s: Steering): Promise<void> {
  await batch(
    'ip',
    routesV6(s).map((route) => ['route', 'replace', ...route]),
    FAMILY,
  );
}

/** Makes the rules of sources those that are wanted. */
export async function applySources(
  s: Steering,
  before: readonly Source[],
  wanted: readonly Source[],
): Promise<void> {
  const ip = (verb: string, list: readonly Source[]): string[][] =>
    list.map((x) => ['rule', verb, ...sourceRule(s, x)]);
  const gone = before.filter((x) => !has(wanted, x));
  const fresh = wanted.filter((x) => !has(before, x));
  await attemptBatch('ip', ip('del', gone), FAMILY);
  await batch('ip', ip('add', fresh), FAMILY);
}

const has = (list: readonly Source[], { address, port }: Source): boolean =>
  list.some((x) => x.address === address && x.port === port);

/**
 * Does nothing where nothing is left.
 * @param moved whether the local table's rule was moved, and is no longer wanted there
 */
export async function removeV6(s: Place, sources: readonly Source[], moved: boolean): Promise<void> {
  const rules = [...ruleArguments(s), ...sources.map((x) => sourceRule(s, x))];
  const back = moved ? moveLocal(await listRules(FAMILY), LOCAL_RULE_MOVED, 0) : [];
  await attemptBatch('ip', [...removalOf(s, rules), ...back], FAMILY);
}

export async function deviationsV6(s: Steering): Promise<Deviation[]> {
  const listed = await listRules(FAMILY);
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
