/**
 * Distances to members. The host's routing daemon tells them: the metric of the narrowest route to a member in a kernel table
 * that it fills (BIRD: `krt_metric`, as `deploy/routing.md` shows). Or members do, by the round trips of their sessions.
 */
import { command } from '../../src/steer/tools.js';
import { contains, parse, parsePrefix } from '../../src/wire/address.js';

/** A route as `ip -j route` prints it. */
export interface Route {
  dst: string;
  metric?: number;
}

interface Placed {
  id: string;
  address: string;
}

/** By member, ms; one without a route has none. */
export function distancesOf(routes: readonly Route[], members: Iterable<Placed>): Record<string, number> {
  const prefixes = routes
    .flatMap(({ dst, metric = 0 }) => {
      const prefix = parsePrefix(dst === 'default' ? '0.0.0.0/0' : dst.includes('/') ? dst : `${dst}/32`);
      return prefix === undefined ? [] : [{ prefix, metric }];
    })
    .sort((a, b) => b.prefix.bits - a.prefix.bits);
  return Object.fromEntries(
    [...members].flatMap(({ id, address }) => {
      const words = parse(address);
      const route = words === undefined ? undefined : prefixes.find(({ prefix }) => contains(prefix, words));
      return route === undefined ? [] : [[id, route.metric]];
    }),
  );
}

/** By member, ms. */
export const roundTripsOf = (members: Iterable<{ id: string; rttMs?: number }>): Record<string, number> =>
  Object.fromEntries([...members].flatMap(({ id, rttMs }) => (rttMs === undefined ? [] : [[id, rttMs]])));

/** @throws Error when `ip` fails; a table without a route has none */
export async function routesIn(table: number): Promise<Route[]> {
  try {
    const text = await command('ip', ['-j', 'route', 'show', 'table', String(table)]);
    return JSON.parse(text.trim() === '' ? '[]' : text) as Route[];
  } catch (error) {
    // The kernel makes a table with its first route.
    if (/FIB table does not exist/.test(String(error))) return [];
    throw error;
  }
}
