/** Who may be a member: wrong certificates, forged and repeated messages, and the load of many members. */

import { readFileSync, writeFileSync } from 'node:fs';
import { forgeScript, membersScript } from '../paths.js';
import { pause, waitUntil } from '../process.js';
import { capture } from './capture.js';
import { makeAuthority, makeCertificate, uriOf } from './certificates.js';
import { figure, type RoutingFigure } from './figure.js';
import { RoutedLab } from './lab.js';
import { manyAddress, manyName } from './many.js';
import { VIRTUAL, VIRTUAL_SUBNET } from './plan.js';
import { sayHello } from './say-hello.js';

export interface HelloOptions {
  forged: number;
  perSecond: number;
  members: number;
  seconds: number;
}

export const HELLO: HelloOptions = { forged: 1_000_000, perSecond: 25_000, members: 1000, seconds: 20 };
const WELCOME_MS = 120_000;
const CLOCK_TICKS = 100;

export async function playHello(o: HelloOptions = HELLO): Promise<RoutingFigure[]> {
  const shape = { networks: 2, systems: 0, sites: 1, servers: 2 };
  const lab = await RoutedLab.create({ name: `hello-${process.pid}`, shape, bird: true });
  try {
    return [...(await certificates(lab)), ...(await forged(lab, o)), ...(await many(lab, o))];
  } finally {
    await lab.down();
  }
}

/** Says hello to t1 with files of the directory. @returns whether it was welcome */
async function isWelcome(lab: RoutedLab, files: string | undefined, id: string): Promise<boolean> {
  return (await sayHello(lab, files, id)).includes('"welcome"');
}

async function certificates(lab: RoutedLab): Promise<RoutingFigure[]> {
  const { directory } = lab;
  const uri = uriOf(lab.hosts, lab.host('s2'));
  await makeAuthority(directory, 'other');
  await makeCertificate(directory, 'foreign', { uri, authority: 'other' });
  await makeCertificate(directory, 'expired', { uri, days: -1 });
  await makeCertificate(directory, 'nameless', { uri: 'urn:other' });
  await makeCertificate(directory, 'elsewhere', {
    uri: `firstack:routing?id=s2&level=server&subnet=${VIRTUAL_SUBNET}&target=10.0.0.0/8`,
  });
  await lab.stop('s2');
  const wrong = [undefined, 'foreign', 'expired', 'nameless', 'elsewhere', 's1'];
  let accepted = 0;
  for (const files of wrong) if (await isWelcome(lab, files, 's2')) accepted++;
  const isRight = await isWelcome(lab, 's2', 's2');
  lab.start('s2');
  await lab.untilReady();
  return [
    figure(
      'hello:certificates',
      { most: 0 },
      {
        value: accepted + (isRight ? 0 : 1),
        what: `sessions accepted with no, a foreign, an expired, a nameless, another's certificate, and one for other addresses; the right one was ${isRight ? '' : 'not '}accepted`,
      },
    ),
  ];
}

/** Packets of a capture, in hex, from their IPv4 header on. */
function packetsOf(file: string): string[] {
  const bytes = readFileSync(file);
  const packets: string[] = [];
  const [FILE_HEADER, RECORD_HEADER, ETHERNET] = [24, 16, 14];
  for (let at = FILE_HEADER; at + RECORD_HEADER < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    packets.push(bytes.subarray(at + RECORD_HEADER + ETHERNET, at + RECORD_HEADER + length).toString('hex'));
    at += RECORD_HEADER + length;
  }
  return packets;
}

const TAKEN = ['drop.shortcut-taken', 'drop.news-taken', 'drop.whohas-taken'];

async function forged(lab: RoutedLab, o: HelloOptions): Promise<RoutingFigure[]> {
  const ask = async (n: number): Promise<void> => {
    for (let k = 0; k < n; k++)
      await lab.exec('client', ['curl', '-sS', '-o', '/dev/null', '--max-time', '3', `http://${VIRTUAL}/`]);
  };
  const seen = await capture(lab, 'n1', 'udp port 7418 or udp port 7419', 1500);
  await ask(30);
  await pause(1000);
  await seen.end();
  const whole = packetsOf(seen.file);
  writeFileSync(`${lab.directory}/genuine`, `${whole.join('\n')}\n`);
  // What routers tell by themselves, about flows that still live, is no forgery: it is known by how much there is of it alone.
  const taken = async (): Promise<number> => {
    const { counters } = (await lab.status('n1'))!;
    return TAKEN.reduce((n, name) => n + counters[name], 0);
  };
  const before = await taken();
  const refusedBefore = (await lab.status('n1'))!.counters;
  const argv = [
    process.execPath,
    forgeScript,
    `${lab.directory}/genuine`,
    String(o.forged),
    String(o.perSecond),
  ];
  const { stdout, stderr } = await lab.exec('wan', argv);
  if (stderr !== '') throw new Error(stderr);
  const { sent } = JSON.parse(stdout) as { sent: number };
  await pause(500);
  const { counters } = (await lab.status('n1'))!;
  const refused = [
    'drop.shortcut-forged',
    'drop.shortcut-repeated',
    'drop.news-forged',
    'drop.news-repeated',
  ];
  const seenByUs = refused.reduce((n, name) => n + counters[name] - refusedBefore[name], 0);
  return [
    figure(
      'hello:forged',
      { most: 0 },
      {
        value: (await taken()) - before,
        what: `shortcuts and news accepted of ${sent} repeated, changed and made up, ${o.perSecond} a second, made of ${whole.length} genuine ones; ${seenByUs} were refused one by one, the others got no place in a queue`,
      },
    ),
  ];
}

/** Processor time of a process so far, in seconds. */
function processorOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

async function many(lab: RoutedLab, o: HelloOptions): Promise<RoutingFigure[]> {
  const { directory } = lab;
  for (let n = 1; n <= o.members; n++)
    await makeCertificate(directory, manyName(n), {
      uri: `firstack:routing?id=${manyName(n)}&level=site&subnet=${VIRTUAL_SUBNET}&target=${manyAddress(n)}/32`,
    });
  const argv = [
    process.execPath,
    membersScript,
    directory,
    `${lab.address('n2')}:7417`,
    String(o.members),
    'site',
  ];
  const child = lab.spawnIn('client', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout!.on('data', (text: Buffer) => {
    said += text;
  });
  await waitUntil(() => said !== '' || child.exitCode !== null, WELCOME_MS, 100);
  await pause(3000);
  const pid = lab.pid('n2')!;
  const [begun, before] = [performance.now(), processorOf(pid)];
  await pause(o.seconds * 1000);
  const cores = ((processorOf(pid) - before) * 1000) / (performance.now() - begun);
  const known = (await lab.status('n2'))?.members ?? 0;
  child.kill('SIGTERM');
  return [
    figure(
      'hello:members',
      { most: 0.1 },
      {
        value: cores,
        what: `cores that a router with ${known} members uses, each of which says its state every second (${o.members} sites and one more; ${o.seconds} s)`,
      },
    ),
  ];
}
