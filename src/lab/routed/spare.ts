/**
 * A router of two is lost: its role is killed, or its link is cut without a word. BIRD with BFD and multipath routes spreads
 * flows over both, and the routers tell each other theirs. Beside it, keepalived, conntrackd and nftables lose one of two.
 */
import { namespaceOf } from '../network.js';
import { pause, waitUntil } from '../process.js';
import { cutLink, mendLink, routesOf } from './bird.js';
import { figure, type RoutingFigure } from './figure.js';
import { Keepalived } from './keepalived.js';
import { RoutedLab } from './lab.js';
import { addressOf, hostsOfShape, VIRTUAL_SUBNET } from './plan.js';
import { type Outcomes, Survivors, shown, together } from './survivors.js';
import { FLOATING, NET, Vrrp } from './vrrp.js';

export interface SpareOptions {
  connections: number;
}

export const SPARE: SpareOptions = { connections: 2000 };
const CLIENT_DELAY_MS = 30;
/** Within this the routers have taken the SYNs, and no answer has reached the client. */
const ONE_PACKET_MS = CLIENT_DELAY_MS + 25;
const SETTLED_MS = 1500;
const AFTER_MS = 3000;
const ALL = ['n1', 'n2', 't1', 't2', 's1', 's2', 's3', 's4'];
const SHAPE = { networks: 2, systems: 0, sites: 2, servers: 2 };
const PEER = 'keepalived, conntrackd, nft';

export async function playSpare(o: SpareOptions = SPARE): Promise<RoutingFigure[]> {
  return [...(await ours(o, await playPeer(o))), ...(await byVrrp(o))];
}

async function ours(o: SpareOptions, peer: Peer): Promise<RoutingFigure[]> {
  const lab = await RoutedLab.create({
    name: `spare-${process.pid}`,
    shape: SHAPE,
    clientDelayMs: CLIENT_DELAY_MS,
    bird: true,
  });
  try {
    const killed = await play(lab, o, () => lab.kill('n1'));
    lab.start('n1');
    await lab.untilReady();
    await pause(SETTLED_MS);
    const cut = await play(lab, o, () => cutLink(lab, 'n1'));
    const one = await routesOf(lab);
    await mendLink(lab);
    await waitUntil(async () => (await routesOf(lab)) === 2, AFTER_MS * 5, 100);
    const [a, b] = [together(killed), together(cut)];
    const [c, d] = [together(peer.killed), together(peer.cut)];
    const news = (await lab.status('n2'))?.counters['drop.news-taken'] ?? 0;
    return [
      figure(
        'spare:killed',
        { most: 0 },
        {
          value: a.broken,
          peers: { [PEER]: c.broken },
          what: `connections broken by SIGKILL of one of two routers' roles; ${shown(killed)}; the peer, of which keepalived and conntrackd are killed: ${shown(peer.killed)}`,
        },
      ),
      figure(
        'spare:killed-stall',
        { most: 200 },
        { value: a.p99, peers: { [PEER]: c.p99 }, what: 'the same: longest time for an answer, ms, p99' },
      ),
      figure(
        'spare:cut',
        { most: 0.001 },
        {
          value: b.broken / b.connections,
          peers: { [PEER]: d.broken / d.connections },
          what: `share of connections broken by a cut link of one of two routers (${one} route left; it had heard ${news} times of the other's flows); ${shown(cut)}; the peer: ${shown(peer.cut)}`,
        },
      ),
      figure(
        'spare:cut-stall',
        { most: 1000 },
        { value: b.p99, peers: { [PEER]: d.p99 }, what: 'the same: longest time for an answer, ms, p99' },
      ),
      figure(
        'spare:cut-resets',
        { most: 0 },
        { value: b.reset, peers: { [PEER]: d.reset }, what: 'the same: connections reset' },
      ),
    ];
  } finally {
    await lab.down();
  }
}

const SEARCHED = [
  ['drop.news-taken', 'datagrams of news'],
  ['guess.by-slot', 'guesses by slot'],
  ['pass.tried-next', 'times another member was tried'],
  ['emit.reset', 'resets'],
] as const;
/** Of each router, on an Ethernet of its own. */
const SECOND = 'wan1';
const BRIDGE = 'balanced';

/** Two routers to which no daemon leads routes: keepalived moves the next hop to the virtual hosts. */
export async function byVrrp(o: SpareOptions): Promise<RoutingFigure[]> {
  const routers = ['n1', 'n2'];
  const hosts = hostsOfShape(SHAPE);
  let directory = '';
  const lab = await RoutedLab.create({
    name: `spare-vrrp-${process.pid}`,
    shape: SHAPE,
    clientDelayMs: CLIENT_DELAY_MS,
    idle: ALL,
    before: (d) => {
      directory = d;
    },
    edit: ({ name }, file) =>
      routers.includes(name)
        ? {
            ...file,
            lan: ['wan0', SECOND],
            neighbours: routers.filter((r) => r !== name).map((r) => addressOf(hosts, r)),
            levelKeyFile: `${directory}/level.key`,
          }
        : file,
  });
  try {
    const wan = (argv: string): Promise<string> => lab.mustExec('wan', ['ip', ...argv.split(' ')]);
    await wan(`link add ${BRIDGE} type bridge`);
    await wan(`addr add ${NET}.1/24 dev ${BRIDGE}`);
    await wan(`link set ${BRIDGE} up`);
    for (const [n, name] of routers.entries()) {
      await wan(`link add lb-${name} type veth peer name ${SECOND} netns ${namespaceOf(lab.name, name)}`);
      await wan(`link set lb-${name} master ${BRIDGE} up`);
      await lab.mustExec(name, ['ip', 'addr', 'add', `${NET}.${n + 2}/24`, 'dev', SECOND]);
      await lab.mustExec(name, ['ip', 'link', 'set', SECOND, 'up']);
    }
    await wan(`route replace ${VIRTUAL_SUBNET} via ${FLOATING}`);
    for (const { name } of lab.hosts) lab.start(name);
    await lab.untilReady();
    const vrrp = new Vrrp(lab, routers, SECOND);
    for (const name of routers) await vrrp.start(name);
    const active = await settled(vrrp);
    const cut = await play(lab, o, () => cutLink(lab, active, [`to-${active}`, `lb-${active}`]));
    await vrrp.end();
    const left = routers.find((r) => r !== active)!;
    const { counters } = (await lab.status(left))!;
    const seen = SEARCHED.map(([name, what]) => `${counters[name]} ${what}`).join(', ');
    const all = together(cut);
    return [
      figure(
        'spare:vrrp',
        { most: 0.001 },
        {
          value: all.broken / all.connections,
          what: `the same with keepalived, which moves the routers' next hop, in the place of BIRD; ${shown(cut)}; ${left}: ${seen}`,
        },
      ),
      figure(
        'spare:vrrp-stall',
        { most: 1000 },
        { value: all.p99, what: 'the same: longest time for an answer, ms, p99' },
      ),
    ];
  } finally {
    await lab.down();
  }
}

interface Peer {
  killed: Outcomes;
  cut: Outcomes;
}

async function playPeer(o: SpareOptions): Promise<Peer> {
  const lab = await RoutedLab.create({
    name: `spare-peer-${process.pid}`,
    shape: SHAPE,
    clientDelayMs: CLIENT_DELAY_MS,
    idle: ALL,
  });
  try {
    const peer = await Keepalived.create(lab);
    const first = await settled(peer);
    const killed = await play(lab, o, () => peer.kill(first));
    await peer.start(first);
    const second = await settled(peer);
    const cut = await play(lab, o, () => cutLink(lab, second));
    await peer.end();
    return { killed, cut };
  } finally {
    await lab.down();
  }
}

async function settled(peer: Pick<Vrrp, 'active'>): Promise<string> {
  await waitUntil(async () => (await peer.active()) !== undefined, AFTER_MS * 5, 100);
  await pause(SETTLED_MS);
  return (await peer.active()) as string;
}

async function play(lab: RoutedLab, { connections }: SpareOptions, fault: () => Promise<void>) {
  const third = Math.round(connections / 3);
  const survivors = new Survivors(lab);
  await survivors.open(third, 'idle');
  await survivors.open(third, 'active');
  await pause(SETTLED_MS);
  await survivors.young(connections - 2 * third);
  // Their SYNs have passed the first router, and no more.
  await pause(ONE_PACKET_MS);
  await fault();
  await pause(AFTER_MS);
  return survivors.end();
}
