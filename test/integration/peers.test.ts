// Real peers that use more of TCP than most: MPTCP sockets, Fast Open, ECN, one port again and again, pings with DF.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import { packageRoot } from '../../src/lab/paths.js';
import type { Output } from '../../src/lab/process.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { freshName } from './lab-support.js';

const WAYS = CONFIGURATIONS.flatMap((c) => (['auto', 'off'] as const).map((f) => [c, f] as const));
const SERVICE = '203.0.113.10';
const directory = mkdtempSync(`${tmpdir()}/firstack-peers-`);
const get = `${directory}/tcp-get`;

beforeAll(() => {
  execFileSync('gcc', ['-O1', '-o', get, `${packageRoot}/test/support/tcp-get.c`]);
});
afterAll(() => rmSync(directory, { recursive: true }));

describe.each(WAYS)('configuration %s, fast path %s', (configuration, fastpath) => {
  let lab: Lab;
  beforeAll(async () => {
    const topology = 'replica-nearest';
    lab = await Lab.create({
      name: freshName(),
      seed: 1,
      topology,
      race: 'learned',
      configuration,
      fastpath,
    });
    for (const host of ['client', 'server', 'r1', 'r2', 'r3'])
      for (const setting of ['tcp_ecn=1', 'tcp_fastopen=3'])
        await must(host, 'sysctl', '-qw', `net.ipv4.${setting}`);
  });
  afterAll(async () => {
    await lab?.down();
  });

  async function must(host: string, ...argv: string[]): Promise<Output> {
    const output = await lab.exec(host, argv);
    expect({ argv, status: output.status, stderr: output.stderr }).toEqual({ argv, status: 0, stderr: '' });
    return output;
  }
  const curl = (...more: string[]): Promise<Output> =>
    must(
      'client',
      'curl',
      '-sS',
      '--fail',
      '--max-time',
      '10',
      '--noproxy',
      '*',
      '-D',
      '-',
      ...more,
      `http://${SERVICE}/`,
    );

  it('an MPTCP socket is served, by a replica whose server has none [rule 6]', async () => {
    for (let n = 0; n < 3; n++) {
      const { stdout } = await must('client', get, 'mptcp', SERVICE, '/', '0');
      expect(stdout).toMatch(/^HTTP\/1.1 200 OK\r\n/);
      expect(stdout).toMatch(/\nserved by \S+\n/);
    }
  });

  it('curl with Fast Open is served, also with a cookie [rule 5]', async () => {
    for (let n = 0; n < 3; n++) expect((await curl('--tcp-fastopen')).stdout).toMatch(/served by/);
  });

  it('ECN is negotiated end to end [rule 7]', async () => {
    writeFileSync(`${lab.webServer('r2').blobDirectory}/ecn`, Buffer.alloc(1 << 20));
    const marked = async (): Promise<number> => {
      const { stdout } = await must('client', 'nstat', '-asz', 'IpExtInECT0Pkts');
      return Number(/IpExtInECT0Pkts +(\d+)/.exec(stdout)?.[1]);
    };
    const before = await marked();
    await curl('-o', '/dev/null', `http://${SERVICE}/blob/ecn`);
    // A sender marks its data ECT(0) only when both ends have agreed to it.
    expect((await marked()) - before).toBeGreaterThan(100);
  });

  it('one port is used again at once, without a second of waiting [rule 24]', async () => {
    const times: number[] = [];
    for (let n = 0; n < 10; n++) {
      const begun = performance.now();
      const { stdout } = await must('client', get, 'tcp', SERVICE, '/', '45000');
      times.push(performance.now() - begun);
      // The client's own last FIN must be acknowledged before its kernel gives the port away.
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(stdout).toMatch(/\nserved by \S+\n/);
    }
    // One that is late on a busy machine is not the second that a lost SYN costs each time.
    expect(times.filter((ms) => ms >= 1000).length).toBeLessThanOrEqual(1);
  });

  it('a ping with DF reaches the service at its full size', async () => {
    const { stdout } = await must(
      'client',
      'ping',
      '-c',
      '2',
      '-i',
      '0.2',
      '-W',
      '3',
      '-M',
      'do',
      '-s',
      '1472',
      SERVICE,
    );
    expect(stdout).toMatch(/2 received/);
  });
});
