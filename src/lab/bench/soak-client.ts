/** The soak's load from a laboratory's client: starts it, reads its lines, and waits for its end. */
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { FirstackError } from '../../errors.js';
import type { Counts } from '../../load/recording.js';
import type { Percentiles } from '../../load/report.js';
import type { Configuration } from '../../race/records.js';
import type { Lab } from '../lab.js';
import type { Unwell } from './soak-account.js';

export interface BlobFile {
  path: string;
  sha256: string;
}

export interface ClientPlan {
  services: { name: string; address: string; port: number; configuration: Configuration }[];
  rate: number;
  seconds: number;
  seed: number;
  small: BlobFile;
  large: BlobFile;
  /** The share of requests for the large file. */
  largeShare: number;
  maxOpen: number;
  timeoutMs: number;
}

export interface Second {
  atMs: number;
  /** Successful connections since the line before, by machine. */
  servedBy: Record<string, number>;
  counts: Counts;
}

export interface ClientEnd {
  counts: Counts;
  bodyBytes: number;
  /** Connections that were established only after a retransmission of their SYN. */
  slowConnects: number;
  connect: Percentiles | null;
  total: Percentiles | null;
  lag: Percentiles | null;
}

export type ClientLine =
  | { begunAt: number; scheduled: number }
  | { second: Second }
  | { unwell: Unwell }
  | { end: ClientEnd };

export interface Load {
  /** Approximately when the first arrival was due. */
  begunAt: number;
  scheduled: number;
  /** @throws FirstackError FSA_LAB_FAILED when it ended without a result */
  ended: Promise<ClientEnd>;
}

/** Starts the load; resolves when it has begun. */
export async function startLoad(
  lab: Lab,
  plan: ClientPlan,
  hear: { second(s: Second): void; unwell(c: Unwell): void },
): Promise<Load> {
  const main = fileURLToPath(new URL('./soak-client-main.js', import.meta.url));
  const child = lab.spawnIn('client', [process.execPath, main], { stdio: ['pipe', 'pipe', 'pipe'] });
  const complaint = text(child.stderr!);
  let begin: (load: Load) => void = () => {};
  const begun = new Promise<Load>((resolve) => {
    begin = resolve;
  });
  const ended = new Promise<ClientEnd>((resolve, reject) => {
    let said: ClientEnd | undefined;
    createInterface({ input: child.stdout! })
      .on('line', (line) => {
        const heard = JSON.parse(line) as ClientLine;
        if ('begunAt' in heard) begin({ ...heard, ended });
        else if ('second' in heard) hear.second(heard.second);
        else if ('unwell' in heard) hear.unwell(heard.unwell);
        else said = heard.end;
      })
      .once('close', async () => {
        if (said !== undefined) return resolve(said);
        reject(new FirstackError('FSA_LAB_FAILED', `the soak's client ended: ${(await complaint).trim()}`));
      });
  });
  child.stdin!.end(JSON.stringify(plan));
  return Promise.race([begun, ended.then(() => begun)]);
}
