/**
 * The IPv6 half of a steering: the same marks lead to the same TUN, by a rule and a route of IPv6's own. A table has
 * the same number in both families.
 */
import { routeArguments, ruleArguments, type Steering } from './plan.js';
import { type Deviation, isRoute, type ListedRoute, type ListedRule, ruleDeviations } from './standing.js';
import { attempt, command } from './tools.js';

type Place = Pick<Steering, 'mark' | 'tunnelMark' | 'mask' | 'table' | 'tunnelTable' | 'priority'>;

// Nothing is put into a tunnel over IPv6.
const rule = (s: Place): string[] => ruleArguments(s)[0];
const route = (s: Place & Pick<Steering, 'tun'>): string[] =>
  routeArguments({ ...s, tunnelMtu: undefined })[0];

export async function applyV6(s: Steering): Promise<void> {
  await command('ip', ['-6', 'route', 'replace', ...route(s)]);
  await command('ip', ['-6', 'rule', 'add', ...rule(s)]);
}

/** Does nothing where nothing is left. */
export async function removeV6(s: Place): Promise<void> {
  // A role that was killed and started again may have added the rule twice.
  while (await attempt('ip', ['-6', 'rule', 'del', ...rule(s)]));
  await attempt('ip', ['-6', 'route', 'flush', 'table', String(s.table)]);
}

export async function deviationsV6(s: Steering): Promise<Deviation[]> {
  const listed = JSON.parse(await command('ip', ['-6', '-N', '-j', 'rule', 'show'])) as ListedRule[];
  const table = ['-6', '-N', '-j', 'route', 'show', 'table', String(s.table)];
  const routes = JSON.parse((await command('ip', table).catch(() => '')) || '[]') as ListedRoute[];
  const out = ruleDeviations(listed, [rule(s)], false).map((d) => ({
    ...d,
    subject: d.subject.replace('ip rule', 'ip -6 rule'),
    repair: async () => void (await command('ip', ['-6', 'rule', 'add', ...rule(s)])),
  }));
  if (isRoute(routes, route(s))) return out;
  const lost: Deviation = {
    ...{ what: 'route', subject: `ip -6 route ${route(s).join(' ')}`, detail: 'was removed or changed' },
    repair: async () => void (await command('ip', ['-6', 'route', 'replace', ...route(s)])),
  };
  return [...out, lost];
}
