/**
 * Random topologies from a seed: cities on a sphere, light in fibre, detours. In every second topology, paths differ
 * by direction and violate the triangle inequality. All paths have jitter, up to 2 ms.
 */
import type { Topology } from '../topology.js';
import type { PathChange } from '../wan.js';

/** Kilometres that light travels in fibre in a millisecond. */
const FIBRE_KM_PER_MS = 200;
const EARTH_RADIUS_KM = 6371;
const ACCESS_MS = 1;
const DETOUR = 1.3;
const WORST_EXTRA_DETOUR = 0.6;
const MOST_JITTER_MS = 2;

export interface RandomTopology {
  symmetric: boolean;
  /** By "from>to". */
  paths: Record<string, PathChange & { delayMs: number; jitterMs: number }>;
}

export function randomTopology(hosts: string[], random: () => number, symmetric: boolean): RandomTopology {
  const places = new Map(hosts.map((h) => [h, place(random)]));
  const paths: RandomTopology['paths'] = {};
  for (const from of hosts)
    for (const to of hosts) {
      if (from === to) continue;
      const back = paths[`${to}>${from}`];
      const detour = DETOUR + (symmetric ? 0 : random() * WORST_EXTRA_DETOUR);
      const km = distanceKm(places.get(from)!, places.get(to)!);
      const delayMs =
        symmetric && back !== undefined ? back.delayMs : (km / FIBRE_KM_PER_MS) * detour + ACCESS_MS;
      paths[`${from}>${to}`] = {
        delayMs: Math.round(delayMs * 100) / 100,
        jitterMs: random() * MOST_JITTER_MS,
      };
    }
  return { symmetric, paths };
}

type Place = [number, number, number];

function place(random: () => number): Place {
  const z = random() * 2 - 1;
  const angle = random() * 2 * Math.PI;
  const r = Math.sqrt(1 - z * z);
  return [r * Math.cos(angle), r * Math.sin(angle), z];
}

function distanceKm(a: Place, b: Place): number {
  const dot = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  return EARTH_RADIUS_KM * Math.acos(Math.max(-1, Math.min(1, dot)));
}

/** The mean one-way delay of a path: jitter is evenly distributed from 0 up. */
export function meanMs(t: RandomTopology, from: string, to: string): number {
  const p = t.paths[`${from}>${to}`];
  return p.delayMs + p.jitterMs / 2;
}

/** A laboratory's topology whose delays the bench sets later. */
export function blankTopology(replicas: number): Topology {
  const names = Array.from({ length: replicas }, (_, i) => `r${i + 1}`);
  const wanHosts = ['gateway', 'origin', ...names];
  const row = (from: string) => Object.fromEntries(wanHosts.filter((h) => h !== from).map((to) => [to, 5]));
  return {
    name: 'random',
    replicas: names,
    wanHosts,
    servers: ['server'],
    limits: Object.fromEntries(names.map((r) => [r, { connections: 10_000, cpuPct: 100 }])),
    services: [{ name: 'web', address: '203.0.113.10', ports: [80], raceWindowMs: 500 }],
    delaysMs: Object.fromEntries(wanHosts.map((from) => [from, row(from)])),
    paths: {},
    ipv6: false,
  };
}
