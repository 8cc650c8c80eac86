/**
 * Paths that are narrower than the hosts' interfaces: 1,280 bytes towards the client, 1,400 towards each server. Transfers
 * both ways, and datagrams that are fragmented, through two routers of the highest level.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Transfer, Way } from '../narrow/transfer.js';
import { datagramsScript, narrowClientScript } from '../paths.js';
import type { Asked } from './datagrams-main.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';

export interface MtuOptions {
  /** Each way. */
  transfers: number;
  bytes: number;
  datagrams: number;
}

export const MTU: MtuOptions = { transfers: 200, bytes: 10_000_000, datagrams: 200 };

const TO_CLIENT = 1280;
const TO_SERVER = 1400;
const AT_ONCE = 4;
const DATAGRAM_PORT = 5353;
const DATAGRAM_BYTES = 4096;

export async function playMtu(o: MtuOptions = MTU): Promise<RoutingFigure[]> {
  const shape = { networks: 2, systems: 0, sites: 1, servers: 3 };
  const lab = await RoutedLab.create({ name: `mtu-${process.pid}`, shape, bird: true });
  try {
    return await play(lab, o);
  } finally {
    await lab.down();
  }
}

async function play(lab: RoutedLab, o: MtuOptions): Promise<RoutingFigure[]> {
  // A locked MTU on a router's route: it answers "fragmentation needed", or fragments, as any router does.
  const narrow = (prefix: string, dev: string, mtu: number): Promise<unknown> =>
    lab.exec('wan', ['ip', 'route', 'replace', prefix, 'dev', dev, 'mtu', 'lock', String(mtu)]);
  await narrow('192.0.2.0/24', 'lan0', TO_CLIENT);
  for (const { name } of lab.servers) {
    await narrow(lab.address(name).replace(/2$/, '0/24'), `to-${name}`, TO_SERVER);
    lab.spawnIn(name, [process.execPath, datagramsScript, 'serve', VIRTUAL, String(DATAGRAM_PORT), name]);
  }
  const body = randomBytes(o.bytes);
  const file = `${lab.directory}/blob/narrow`;
  mkdirSync(`${lab.directory}/blob`, { recursive: true });
  writeFileSync(file, body);
  const sha256 = createHash('sha256').update(body).digest('hex');
  const transfer = async (way: Way): Promise<Transfer[]> => {
    const argv = [process.execPath, narrowClientScript, VIRTUAL, way, sha256, String(o.bytes)];
    const { stdout } = await lab.exec('client', [...argv, String(o.transfers), String(AT_ONCE), file]);
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Transfer);
  };
  const all = [...(await transfer('up')), ...(await transfer('down'))];
  const argv = [
    process.execPath,
    datagramsScript,
    'ask',
    VIRTUAL,
    String(DATAGRAM_PORT),
    String(o.datagrams),
  ];
  const asked = JSON.parse(
    (await lab.exec('client', [...argv, '2', '50', String(DATAGRAM_BYTES)])).stdout,
  ) as Asked;
  const relayed: string[] = [];
  for (const { name } of lab.routers)
    relayed.push(`${name} ${(await lab.status(name))?.counters['pass.error-relayed'] ?? 0}`);
  const failed = all.filter((t) => t.error !== '');
  const why = [...new Set(failed.map((t) => t.error))].join(', ');
  return [
    figure(
      'mtu',
      { least: 2 * o.transfers },
      {
        value: all.length - failed.length,
        what: `transfers of ${o.bytes} bytes that arrived whole, ${o.transfers} each way, ${AT_ONCE} at a time; hops of ${TO_CLIENT} bytes to the client, ${TO_SERVER} to the servers; errors relayed: ${relayed.join(', ')}${why === '' ? '' : `; ${why}`}`,
      },
    ),
    figure(
      'mtu:stall',
      { most: 1000 },
      {
        value: Math.max(...all.map((t) => t.stallMs)),
        what: 'the same: the longest time without progress, ms',
      },
    ),
    figure(
      'mtu:datagrams',
      { least: 1 },
      {
        value: asked.answered / asked.datagrams,
        what: `share of ${asked.datagrams} datagrams of ${DATAGRAM_BYTES} bytes that were answered, at that length`,
      },
    ),
  ];
}
