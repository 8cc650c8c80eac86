/**
 * A program that is not in the checkout, an echo of UDP, is added with its own rooms and one line in each
 * `programs.ts`, built, and run in the laboratory beside the race, on the same hosts and in the same processes.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { wanAddress } from '../../src/lab/network.js';
import { packageRoot } from '../../src/lab/paths.js';
import { pause } from '../../src/lab/process.js';
import { request } from '../../src/lab/requests.js';
import { withLab } from './lab-support.js';

const ROLES = ['gateway', 'origin', 'replica'];
const ECHO = `${packageRoot}/test/programs/echo`;
const PORT = 7;
/** Addresses that only the echo answers, behind the gateway's LAN side but not the origin's. */
const ADDRESSES = { gateway: '203.0.113.77', origin: '203.0.113.78' };
const HOSTS = ['gateway', 'origin', 'r1', 'r2', 'r3'];
const addressOn = (host: string): string => ADDRESSES[host as keyof typeof ADDRESSES] ?? wanAddress(host);
const shell = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' });

const tree = mkdtempSync(`${tmpdir()}/firstack-programs-`);
const lineOf = (role: string): string => {
  const commands = role === 'gateway' ? ", commands: () => import('./echo/commands.js')" : '';
  return `  { name: 'echo', program: () => import('./echo/program.js')${commands} },\n`;
};

beforeAll(() => {
  const files = 'src gateway origin replica package.json tsconfig.json';
  shell(`cd ${packageRoot} && git ls-files ${files} | tar cf - -T - | tar xf - -C ${tree}`);
  cpSync(ECHO, tree, { recursive: true });
  symlinkSync(`${packageRoot}/node_modules`, `${tree}/node_modules`);
  for (const role of ROLES) {
    const file = `${tree}/${role}/programs.ts`;
    writeFileSync(file, readFileSync(file, 'utf8').replace(/^\];$/m, `${lineOf(role)}];`));
  }
  shell(`cd ${tree} && npm run -s build`);
  mkdirSync(`${tree}/bin`);
  symlinkSync(process.execPath, `${tree}/bin/node`);
}, 120_000);
afterAll(() => rmSync(tree, { recursive: true, force: true }));

/** Sends a datagram from the client and waits for the answer. */
const SEND = `
const { createSocket } = require('node:dgram');
const [address, port, text] = process.argv.slice(1);
const socket = createSocket('udp4');
socket.on('message', (m, from) => { console.log(from.address + ':' + from.port + ' ' + m); process.exit(0); });
socket.bind(() => { for (let n = 0; n < 3; n++) setTimeout(() => socket.send(text, port, address), n * 200); });
setTimeout(() => process.exit(1), 2000);
`;
const ask = async (lab: Lab, address: string, text: string): Promise<string> =>
  (await lab.exec('client', [process.execPath, '-e', SEND, address, String(PORT), text])).stdout.trim();

/** The race's keys as one part of the file, and the echo's beside it. */
const withEcho = (host: string, file: Record<string, unknown>): Record<string, unknown> => {
  const own = ['instance', 'lan', 'wan', 'registry', 'admin', 'log', 'prefixes', 'local', 'id', 'address'];
  const entries = Object.entries(file);
  return {
    ...Object.fromEntries(entries.filter(([key]) => own.includes(key))),
    programs: {
      race: Object.fromEntries(entries.filter(([key]) => !own.includes(key))),
      echo: { echo: { address: addressOn(host), port: PORT } },
    },
  };
};

describe('a program with its own rooms', () => {
  it('changes no file outside them except one line in each programs.ts', () => {
    const changed = shell(
      `cd ${packageRoot} && for f in $(git ls-files src gateway origin replica); do cmp -s $f ${tree}/$f || echo $f; done`,
    );
    expect(changed.trim().split('\n').sort()).toEqual(ROLES.map((r) => `${r}/programs.ts`).sort());
    for (const role of ROLES) {
      const [before, after] = [packageRoot, tree].map((root) =>
        readFileSync(`${root}/${role}/programs.ts`, 'utf8'),
      );
      expect(after.replace(lineOf(role), '')).toBe(before);
    }
  });

  it('runs beside the race: stages, steering, record, counters, read, command and hook', async () => {
    const trees = Object.fromEntries(HOSTS.map((host) => [host, tree]));
    await withLab({ configuration: 'C', race: 'learned', trees, edit: withEcho }, async (lab) => {
      for (let n = 0; n < 10; n++) expect(await request(lab)).toMatchObject({ ok: true, error: '' });

      for (const host of HOSTS)
        expect(await ask(lab, addressOn(host), `to ${host}`)).toBe(`${addressOn(host)}:${PORT} to ${host}`);
      await pause(500);
      const everybody = HOSTS.map((h) => `${lab.roles.instanceOf(h)}-echo`).sort();
      for (const host of HOSTS) {
        const status = (await lab.roles.status(host)) as unknown as {
          counters: Record<string, number>;
          programs: Record<string, { counters: Record<string, number>; fastpath: { how: string } }>;
        };
        expect(status.programs.echo.counters['pass.echoed']).toBeGreaterThan(0);
        expect(status.programs.echo.fastpath.how).toBe('on');
        // The race's status is still at the top level, as before there were other programs.
        expect(status.programs.race.counters).toEqual(status.counters);
        const cli = `${tree}/dist/src/cli.js`;
        const admin = `unix:${lab.roles.adminSocket(host)}`;
        const said = JSON.parse(shell(`${process.execPath} ${cli} echoes --admin ${admin}`));
        expect(said.echoed).toBe(status.programs.echo.counters['pass.echoed']);
        expect([...said.peers].sort()).toEqual(everybody);
        const metrics = shell(`curl -s --unix-socket ${lab.roles.adminSocket(host)} http://x/metrics`);
        expect(metrics).toMatch(
          /firstack_packets_total\{program="echo",verdict="pass",reason="echoed"\} [1-9]/,
        );
        expect(metrics).toMatch(/firstack_packets_total\{program="race",/);
        const map = `${lab.state.bpfDirectory}/firstack/${lab.roles.instanceOf(host)}-echo/maps/datagrams`;
        const [{ value }] = JSON.parse(shell(`bpftool -j map dump pinned ${map}`)) as { value: string[] }[];
        // Packets that arrive on the WAN; the gateway's clients send by the LAN.
        if (host !== 'gateway') expect(value.some((byte) => Number(byte) > 0)).toBe(true);
      }
      await lab.stopRoles();
      const leftOver = shell(`ls ${lab.state.bpfDirectory}/firstack 2>/dev/null || true`);
      expect(leftOver.trim()).toBe('');
    });
  });
});
