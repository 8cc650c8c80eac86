/** Long downloads from a laboratory's client, so many at a time (`downloads-main.ts`). */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { downloadsScript } from '../paths.js';
import { pause, waitUntil } from '../process.js';
import type { Downloaded } from './downloads-main.js';
import type { RoutedLab } from './lab.js';
import { VIRTUAL } from './plan.js';

/** At the 2 kB a second of `/slow/` a download takes 20 s. */
const FILE_BYTES = 40_000;
const RAMP_MS = 6000;
const EMPTY_MS = 60_000;

export class Downloads {
  #said = '';

  private constructor(readonly child: ChildProcess) {
    child.stdout!.on('data', (text: Buffer) => {
      this.#said += text;
    });
  }

  /** Returns when so many run. */
  static async start(lab: RoutedLab, atOnce: number): Promise<Downloads> {
    mkdirSync(`${lab.directory}/blob`, { recursive: true });
    writeFileSync(`${lab.directory}/blob/long`, 'x'.repeat(FILE_BYTES));
    const argv = [process.execPath, downloadsScript, VIRTUAL, '80', '/slow/long', String(atOnce)];
    const downloads = new Downloads(lab.spawnIn('client', argv, { stdio: ['ignore', 'pipe', 'inherit'] }));
    await pause(RAMP_MS);
    return downloads;
  }

  /** Begins no more, and waits for those that run. */
  async end(): Promise<Downloaded> {
    this.child.kill('SIGTERM');
    await waitUntil(() => this.#said.endsWith('\n'), EMPTY_MS, 100);
    return JSON.parse(this.#said) as Downloaded;
  }
}
