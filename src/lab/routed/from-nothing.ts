/**
 * All routers of all levels lose what they knew, the weights have changed meanwhile, and the clients' packets come by another
 * router: connections that stood idle go on, because servers give back what they do not know, and the routers look on.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { FirstackError } from '../../errors.js';
import { pause, waitUntil } from '../process.js';
import { cutLink, routesOf } from './bird.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { ROUTED_CLIENT } from './plan.js';
import { Survivors, shown, together } from './survivors.js';

export interface FromNothingOptions {
  connections: number;
}

/** Where the client is: at its own address, or behind a router that translates sources. Neither is asked anything. */
type Place = 'direct' | 'masqueraded';

export const FROM_NOTHING: FromNothingOptions = { connections: 1000 };
const CLIENT_DELAY_MS = 5;
const KNOWN_MS = 2500;
const ROUTES_MS = 20_000;
/** So that the slots of most flows belong to other servers. */
const WEIGHTS = [0.2, 5, 0.5, 3, 0.1, 4, 1, 0.3];

export async function playFromNothing(o: FromNothingOptions = FROM_NOTHING): Promise<RoutingFigure[]> {
  return [...(await playOne('direct', o)), ...(await playOne('masqueraded', o)).slice(0, 1)];
}

/** Connections leave towards the routers and servers with the source of wan itself; the emulated line sees the client's. */
const MASQUERADE = `table ip translated {
  chain emulated {
    type filter hook prerouting priority raw;
    iifname { "lan0", "w-inside" } notrack
  }
  chain leaving {
    type nat hook postrouting priority srcnat;
    ip saddr ${ROUTED_CLIENT} oifname "to-*" snat to 192.0.2.1
  }
}
`;

async function playOne(place: Place, o: FromNothingOptions): Promise<RoutingFigure[]> {
  const lab = await RoutedLab.create({
    name: `nothing-${process.pid}`,
    shape: { networks: 2, systems: 0, sites: 2, servers: 4 },
    clientDelayMs: CLIENT_DELAY_MS,
    bird: true,
  });
  try {
    if (place === 'masqueraded') await lab.mustExec('wan', ['nft', '-f', '-'], { input: MASQUERADE });
    const survivors = new Survivors(lab);
    await survivors.open(o.connections, 'idle');
    if (place === 'masqueraded') await expectTranslated(lab);
    await pause(KNOWN_MS);
    for (const [n, { name }] of lab.servers.entries()) weigh(lab, name, WEIGHTS[n % WEIGHTS.length]);
    await pause(KNOWN_MS);
    const routers = lab.routers.map((r) => r.name);
    await Promise.all(routers.map((r) => lab.stop(r)));
    for (const r of routers) lab.start(r);
    await lab.untilReady();
    await waitUntil(async () => (await routesOf(lab)) === 2, ROUTES_MS, 100);
    await cutLink(lab, 'n1');
    await waitUntil(async () => (await routesOf(lab)) === 1, ROUTES_MS, 50);
    await pause(KNOWN_MS);
    const outcomes = await survivors.end();
    const statuses = await Promise.all(routers.map((r) => lab.status(r)));
    const sum = (name: string): number =>
      statuses.reduce((n, s) => n + (s?.counters[name] ?? Number(s?.fastpath?.[name] ?? 0)), 0);
    const all = together(outcomes);
    const carried = ['pass.routed', 'pass.tried-next', 'pass.given-back', 'out.packets'].reduce(
      (n, name) => n + sum(name),
      0,
    );
    return [
      figure(
        place === 'direct' ? 'from-nothing' : 'from-nothing:masqueraded',
        { least: 0.999 },
        {
          value: 1 - all.broken / all.connections,
          what: `share of connections that went on after all ${routers.length} routers lost everything, the weights had changed, and one of two entries was cut${place === 'direct' ? ', without a question to any client' : '; all behind one translated address'}; ${shown(outcomes)}; ${sum('guess.by-slot')} guesses by slot, ${sum('pass.tried-next')} times another member was tried, ${sum('pass.given-back')} times the router above was`,
        },
      ),
      figure(
        'from-nothing:stall',
        { most: 3000 },
        { value: all.p99, what: 'the same: longest time for an answer, ms, p99' },
      ),
      figure(
        'from-nothing:split',
        { most: 0 },
        { value: all.split, what: 'the same: connections that more than one server answered' },
      ),
      figure(
        'from-nothing:asked',
        { most: 0.01 },
        {
          value: sum('emit.whohas') / Math.max(1, carried + sum('emit.whohas')),
          what: 'questions to routers beside, of all packets that the routers sent meanwhile; one per flow that a router with neighbours does not find at once',
        },
      ),
    ];
  } finally {
    await lab.down();
  }
}

/** @throws FirstackError where a server sees the client's own address */
async function expectTranslated(lab: RoutedLab): Promise<void> {
  const argv = ['ss', '-Htn', 'state', 'established', 'dst', ROUTED_CLIENT];
  for (const { name } of lab.servers)
    if ((await lab.exec(name, argv)).stdout.trim() !== '')
      throw new FirstackError('FSA_LAB_FAILED', `${name} sees the client's own address`);
}

function weigh(lab: RoutedLab, name: string, weight: number): void {
  const path = lab.configFile(name);
  writeFileSync(path, stringify({ ...(parse(readFileSync(path, 'utf8')) as object), weight }));
  lab.signal(name, 'SIGHUP');
}
