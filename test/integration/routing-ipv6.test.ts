// Service-level routing over IPv6 through real kernels, beside IPv4 of the same roles: client, two levels of routers, servers
// that answer directly.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '../../src/lab/process.js';
import { RoutedLab } from '../../src/lab/routed/lab.js';
import { VIRTUAL, VIRTUAL6 } from '../../src/lab/routed/plan.js';

const curl = ['curl', '-sS', '-g', '--noproxy', '*', '--max-time', '10'];

async function get(lab: RoutedLab, address = `[${VIRTUAL6}]`): Promise<string> {
  const { stdout } = await lab.exec('client', [...curl, `http://${address}/`]);
  return /served by (\S+)/.exec(stdout)?.[1] ?? '';
}

describe.each(['on', 'stack', 'off'] as const)('IPv6 at one site, fast path %s', (fastpath) => {
  let lab: RoutedLab;
  beforeAll(async () => {
    const shape = { networks: 1, systems: 0, sites: 1, servers: 2 };
    lab = await RoutedLab.create({
      ...{ name: `r6-${fastpath}-${process.pid}`, shape, fastpath, intervalMs: 500, ipv6: true },
    });
  });
  afterAll(async () => {
    await lab?.down();
  });

  it('every server serves over both families', async () => {
    for (const address of [`[${VIRTUAL6}]`, VIRTUAL]) {
      const served = new Set<string>();
      const isEvery = async (): Promise<boolean> => {
        for (let n = 0; n < 10; n++) served.add(await get(lab, address));
        return served.has('s1') && served.has('s2');
      };
      expect(await waitUntil(isEvery, 20_000), address).toBe(true);
      expect(served).toEqual(new Set(['s1', 's2']));
    }
  });
});
