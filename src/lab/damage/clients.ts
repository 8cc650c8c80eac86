/** The clients of `bench damage`: a steady rate of new connections, each with one request. */
import { createInterface } from 'node:readline';
import type { Lab } from '../lab.js';
import { damageClientScript } from '../paths.js';
import { waitUntil } from '../process.js';
import type { Tried } from './tried.js';

/** How long connections must succeed before all is regarded as well. */
export const CALM_MS = 2000;

export interface Clients {
  tried: Tried[];
  /** Waits until connections have succeeded for a while. */
  untilCalm(): Promise<void>;
}

export function startClients(lab: Lab, perSecond: number): Clients {
  const { address, ports } = lab.topology.services[0];
  const argv = [process.execPath, damageClientScript, address, String(ports[0]), String(perSecond)];
  const child = lab.spawnIn('client', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  const tried: Tried[] = [];
  createInterface({ input: child.stdout! }).on('line', (line) => tried.push(JSON.parse(line) as Tried));
  const isCalm = (): boolean => {
    const since = tried.filter((t) => t.at + t.tookMs > Date.now() - CALM_MS);
    return since.length > (CALM_MS / 1000) * perSecond * 0.5 && since.every((t) => t.error === '');
  };
  return { tried, untilCalm: async () => void (await waitUntil(isCalm, 30_000, 100)) };
}
