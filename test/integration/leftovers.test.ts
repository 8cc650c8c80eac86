// Shows that with the gateway killed new connections reach the origin; and that after every role was stopped, or
// killed, started and stopped again, no device, rule, route, table, sysctl or process of firstack is left.
import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { withLab } from './lab-support.js';

/** Everything of a host's network that a role could leave changed. */
async function fingerprint(lab: Lab, host: string): Promise<Record<string, string>> {
  const look = async (...argv: string[]) => (await lab.exec(host, argv)).stdout;
  const conf = '/proc/sys/net/ipv4';
  return {
    links: await look('sh', '-c', "ip -o link | sed 's/^[0-9]*: //; s/ qdisc.*//'"),
    addresses: await look('sh', '-c', "ip -4 -o address | sed 's/^[0-9]*: //'"),
    rules: await look('ip', 'rule', 'show'),
    routes: await look('ip', '-4', 'route', 'show', 'table', 'all'),
    nftables: await look('nft', 'list', 'ruleset'),
    filters: await look(
      'sh',
      '-c',
      'for d in wan0 lan0; do tc qdisc show dev $d; for w in ingress egress; do tc filter show dev $d $w; done; done 2>/dev/null; true',
    ),
    sysctls: await look(
      'sh',
      '-c',
      `cd ${conf}; for f in *; do [ -f $f ] && echo $f $(cat $f 2>/dev/null); done; cd conf; for d in all default lo wan0 lan0; do for f in $d/*; do [ -f $f ] && echo $f $(cat $f 2>/dev/null); done; done; true`,
    ),
  };
}

/**
 * Processes whose command line contains the laboratory's directory: the roles, and none of the laboratory's own
 * processes.
 */
function roleProcesses(lab: Lab): string[] {
  const names = ['gateway', 'origin', 'r1', 'r2', 'r3'];
  return names.filter((h) => lab.roles.isRunning(h));
}

/** Pins in the laboratory's bpffs, without the kernel's own two. */
const pinned = (lab: Lab) => readdirSync(lab.state.bpfDirectory).filter((n) => !n.endsWith('.debug'));

const INSTANCES = '/run/firstack';
const instances = (lab: Lab) =>
  existsSync(INSTANCES) ? readdirSync(INSTANCES).filter((n) => n.startsWith(`lab-${lab.name}-`)) : [];

describe.each(CONFIGURATIONS)('configuration %s', (configuration) => {
  it('the roles leave nothing behind after a stop, or after a kill, a start and a stop', async () => {
    await withLab({ topology: 'replica-nearest', roles: false }, async (lab) => {
      // Makes the laboratory's own changes for this configuration before the comparison.
      await lab.startRoles({ configuration });
      await lab.stopRoles();
      const hosts = lab.roles.hosts;
      const before = await Promise.all(hosts.map((h) => fingerprint(lab, h)));
      for (const f of before) expect(f.nftables).not.toContain('firstack');

      await lab.startRoles({ configuration });
      const during = await Promise.all(hosts.map((h) => fingerprint(lab, h)));
      during.forEach((f, i) => {
        expect(f.nftables).toContain('firstack');
        expect(f.rules).not.toBe(before[i].rules);
        expect(f.links).not.toBe(before[i].links);
        // The origin has no flows to carry.
        if (hosts[i] !== 'origin') expect(f.filters).toContain('direct-action');
      });
      await requestMany(lab, 3, 1);
      await lab.stopRoles();
      expect(await Promise.all(hosts.map((h) => fingerprint(lab, h)))).toEqual(before);
      expect(instances(lab)).toEqual([]);
      expect(pinned(lab)).toEqual([]);

      await lab.startRoles({ configuration });
      for (const h of hosts) await lab.killRole(h);
      // After a kill, rules stay on purpose and have no effect; the next start removes them.
      expect(instances(lab).length).toBe(hosts.length);
      await lab.startRoles({ configuration });
      await requestMany(lab, 3, 1);
      await lab.stopRoles();
      expect(await Promise.all(hosts.map((h) => fingerprint(lab, h)))).toEqual(before);
      expect(instances(lab)).toEqual([]);
      expect(roleProcesses(lab)).toEqual([]);
      expect(pinned(lab)).toEqual([]);
    });
  });

  it('with the gateway killed, new connections reach the origin', async () => {
    await withLab({ topology: 'replica-nearest', configuration }, async (lab) => {
      await lab.killRole('gateway');
      const results = await requestMany(lab, 20, 5);
      expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
      expect(new Set(results.map((r) => r.servedBy))).toEqual(new Set(['origin']));
    });
  });

  it('with the origin role killed, new connections reach the origin server', async () => {
    await withLab({ topology: 'replica-nearest', configuration }, async (lab) => {
      await lab.killRole('origin');
      const results = await requestMany(lab, 20, 5);
      expect(results.filter((r) => !r.ok).map((r) => r.error)).toEqual([]);
      expect(new Set(results.map((r) => r.servedBy))).toEqual(new Set(['origin']));
    });
  });
});
