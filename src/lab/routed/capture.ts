/** Captures of tunnelled packets on a router's interface, by tcpdump: evidence that does not rely on our counters. */
import { once } from 'node:events';
import { identify, mustRun, signal, waitUntil } from '../process.js';
import type { RoutedLab } from './lab.js';

/** Filters over `[outer IPv4][inner IPv4]`, both without options. */
export const TUNNELLED_SYN = 'ip proto 4 and ip[29] = 6 and ip[53] & 0x12 = 2';
export const TUNNELLED_REST = 'ip proto 4 and ip[29] = 6 and ip[53] & 0x12 != 2';
export const TUNNELLED_UDP = 'ip proto 4 and ip[29] = 17';

export interface Capture {
  /** In pcap's format. */
  readonly file: string;
  /** Ends it. @returns the packets that it missed */
  end(): Promise<number>;
  /** The packets that a filter matches. */
  count(filter: string): Promise<number>;
}

const STARTED_MS = 5000;

/** @param filter what is captured; of each packet so many bytes, by default the headers */
export async function capture(lab: RoutedLab, host: string, filter: string, bytes = 96): Promise<Capture> {
  const file = `${lab.directory}/capture-${host}.pcap`;
  const argv = [
    'tcpdump',
    '-i',
    'wan0',
    '-Q',
    'in',
    '-n',
    '-U',
    '--immediate-mode',
    '-s',
    String(bytes),
    '-B',
    '16384',
    '-w',
    file,
    filter,
  ];
  const child = lab.spawnIn(host, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr!.on('data', (text: Buffer) => {
    said += text;
  });
  const id = identify(child.pid!);
  await waitUntil(() => said.includes('listening'), STARTED_MS);
  return {
    file,
    async end() {
      if (id !== undefined && child.exitCode === null) {
        signal(id, 'SIGINT');
        await once(child, 'close');
      }
      return Number(/(\d+) packets? dropped by kernel/.exec(said)?.[1] ?? Number.NaN);
    },
    async count(only) {
      const lines = await mustRun(['tcpdump', '-n', '-r', file, only]);
      return lines.split('\n').filter((l) => l !== '').length;
    },
  };
}
