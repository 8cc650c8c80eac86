// The bench of fleets runs at a small size, prints its figures in the documented form, and leaves nothing behind. The
// figures come from a separate run (src/registry/README.md); only bounds of the protocol are asserted here.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { RegistryFigure } from '../../src/lab/bench/registry-report.js';
import { cliScript } from '../../src/lab/paths.js';

const HOME = mkdtempSync(join(tmpdir(), 'firstack-scale-'));
afterAll(() => rmSync(HOME, { recursive: true, force: true }));

function bench(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const env = { ...process.env, TMPDIR: HOME };
  const child = spawn(process.execPath, [cliScript, 'bench', 'registry', ...args], { env });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (part) => {
    stdout += part;
  });
  child.stderr.on('data', (part) => {
    stderr += part;
  });
  return new Promise((resolve) => child.once('close', (status) => resolve({ status, stdout, stderr })));
}

const HEARTBEAT_MS = 1000;

describe('a fleet of 200 replicas and 20 gateways', () => {
  it('has few commands per role, changes known in two heartbeats, and deaths in four', async () => {
    const page = join(HOME, 'page.md');
    const size = ['--replicas', '200', '--gateways', '20', '--seconds', '7'];
    const { status, stdout, stderr } = await bench(...size, '--json', '--markdown', page);
    expect(status, stderr).toBe(0);
    const [f, ...more] = JSON.parse(stdout) as RegistryFigure[];
    expect(more).toEqual([]);
    expect(f).toMatchObject({ replicas: 200, gateways: 20, services: 20, origins: 1 });
    // Every role has a connection, as do the gateway that is measured alone, and the bench.
    expect(f.connections).toBeGreaterThanOrEqual(200 + 20 + 1 + 1);
    expect(f.convergenceMs.samples).toBeGreaterThan(50);
    expect(f.convergenceMs.max).toBeLessThan(2 * HEARTBEAT_MS);
    expect(f.deathMs!.samples).toBeGreaterThanOrEqual(5);
    expect(f.deathMs!.max).toBeLessThan(3 * HEARTBEAT_MS + 2 * HEARTBEAT_MS);
    // A heartbeat is one SET per role; only the sweeper scans.
    expect(f.opsByCommand.set).toBeGreaterThan(200);
    expect(f.opsByCommand.set).toBeLessThan(1.3 * (200 + 20 + 20 + 20));
    expect(f.opsByCommand.scan).toBeLessThanOrEqual(2);
    expect(f.opsPerSecond).toBeLessThan(8 * 221);
    expect(readFileSync(page, 'utf8')).toContain('| replicas / gateways | 200 / 20 |');
    expect(readdirSync(HOME).filter((d) => d.startsWith('firstack-registry-'))).toEqual([]);
  });

  it('has both sizes given or none', async () => {
    const { status, stderr } = await bench('--replicas', '200');
    expect([status, stderr]).toEqual([2, 'FSA_USAGE: --replicas and --gateways must be given together\n']);
  });
});
