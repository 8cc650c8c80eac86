// A short soak, end to end: three configurations in one fleet; replicas are drained, stopped, killed and brought back
// every few seconds. No new connection fails, no byte is wrong, nothing is left behind; and the figures have the
// documented form.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { KINDS } from '../../src/lab/bench/soak-schedule.js';
import { cliScript } from '../../src/lab/paths.js';

const IDS = [
  'connect-p50-ms',
  'connect-p99-ms',
  'connections',
  'cut',
  'events',
  'failed',
  'generator-lag-p99-ms',
  'hash-mismatch',
  'in-service-least',
  'left-behind',
  'memory-own:gateway',
  'memory-own:origin',
  'memory:gateway',
  'memory:origin',
  'memory:replicas',
  'nft-elements-grown',
  'not-back',
  'pinned-flows',
  'role-errors',
  'served',
  'slow-connects',
  'undrained',
];

interface Figure {
  id: string;
  value: number | string;
  target: string;
  met: string;
  command: string;
  detail?: Record<string, unknown>;
}

it('replicas that start, stop and are killed make no new connection fail and leave nothing behind', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'firstack-soak-'));
  const svg = join(directory, 'soak.svg');
  try {
    const args = ['bench', 'soak', '--minutes', '0.8', '--rate', '60', '--seed', '11', '--every', '2.5'];
    const child = spawn(process.execPath, [cliScript, ...args, '--json', '--svg', svg], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (part) => {
      stdout += part;
    });
    child.stderr.on('data', (part) => {
      stderr += part;
    });
    const status = await new Promise((resolve) => child.once('exit', resolve));
    expect([0, 1], stderr).toContain(status);
    const figures = JSON.parse(stdout) as Figure[];
    expect(figures.map((f) => f.id.replace(/^soak\//, '')).sort()).toEqual(IDS);
    const figure = (id: string) => figures.find((f) => f.id === `soak/${id}`)!;
    for (const f of figures) expect(f.command).toBe(`firstack ${args.join(' ')} --json`);
    for (const id of ['failed', 'hash-mismatch', 'left-behind', 'role-errors', 'not-back'])
      expect([id, figure(id).value, figure(id).detail]).toEqual([id, 0, []]);
    expect(figures.filter((f) => f.met === 'no')).toEqual([]);
    expect(status).toBe(0);

    // Served and cut connections add up to all, and every kind of event occurred.
    expect(Number(figure('served').value) + Number(figure('cut').value)).toBe(figure('connections').value);
    const schedule = figure('events').detail?.schedule as { kind: string }[];
    expect(new Set(schedule.map((e) => e.kind))).toEqual(new Set(KINDS));
    const drawing = readFileSync(svg, 'utf8');
    expect(drawing).toContain('<title>firstack bench soak');
    for (const kind of KINDS) expect(drawing).toContain(`>${kind}<`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}, 300_000);
