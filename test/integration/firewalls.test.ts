// A gateway beside the rules of other software, as those write them: the check names the rules to add, with these it
// works, and whoever is blocked stays blocked.
import { describe, expect, it } from 'vitest';
import type { Lab } from '../../src/lab/lab.js';
import { waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { TWO_REPLICAS, withLab } from './lab-support.js';

/** A second client, which the firewalls block. */
const BLOCKED = '192.0.2.66';

const FIREWALLS: Record<string, string> = {
  "a router's": `table inet filter {
    chain forward {
      type filter hook forward priority 0; policy drop;
      ip saddr ${BLOCKED} drop
      ct state established,related accept
      iifname "lan0" oifname "wan0" accept
    }
  }`,
  "ufw's": `table ip filter {
    chain ufw-before-forward {
      ip saddr ${BLOCKED} counter drop
      ct state related,established counter accept
      icmp type destination-unreachable counter accept
      counter jump ufw-user-forward
    }
    chain ufw-user-forward { }
    chain ufw-logging-deny {
      limit rate 3/minute counter
    }
    chain ufw-after-logging-forward {
      counter jump ufw-logging-deny
    }
    chain FORWARD {
      type filter hook forward priority 0; policy drop;
      counter jump ufw-before-forward
      counter jump ufw-after-logging-forward
    }
  }`,
  "firewalld's": `table inet firewalld {
    chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; policy accept; jump mangle_PRE_public; }
    chain mangle_PRE_public { }
    chain filter_PREROUTING {
      type filter hook prerouting priority filter + 10; policy accept;
      meta nfproto ipv6 fib saddr . iif oif missing drop
    }
    chain filter_FORWARD {
      type filter hook forward priority filter + 10; policy accept;
      ip saddr ${BLOCKED} drop
      ct state { established, related } accept
      ct status dnat accept
      iifname "lo" accept
      ct state { invalid } drop
      jump filter_FWD_public
      reject with icmpx admin-prohibited
    }
    chain filter_FWD_public { icmp type echo-request accept; }
  }`,
  "Docker's": `table ip nat {
    chain PREROUTING { type nat hook prerouting priority -100; policy accept; fib daddr type local counter jump DOCKER; }
    chain DOCKER { iifname "docker0" counter return; }
    chain POSTROUTING {
      type nat hook postrouting priority 100; policy accept;
      oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade
    }
  }
  table ip filter {
    chain DOCKER-USER { ip saddr ${BLOCKED} counter drop; counter return; }
    chain DOCKER-ISOLATION-STAGE-1 { counter return; }
    chain FORWARD {
      type filter hook forward priority 0; policy drop;
      counter jump DOCKER-USER
      counter jump DOCKER-ISOLATION-STAGE-1
      oifname "docker0" ct state related,established counter accept
      iifname "docker0" oifname "docker0" counter accept
    }
  }`,
  'a raw prerouting': `table ip raw {
    chain prerouting { type filter hook prerouting priority raw - 10; policy accept; ip saddr ${BLOCKED} drop; }
  }`,
};

/** Commands that a message ends with, in parentheses. */
const remediesIn = (text: string): string[] =>
  [...text.matchAll(/\(((?:nft|iptables)[^()]*)\)/g)].flatMap((m) => m[1].split('; '));

async function check(lab: Lab): Promise<{ status: number; text: string }> {
  const argv = ['env', `FIRSTACK_BPF_DIR=${lab.state.bpfDirectory}`, ...lab.roles.argv('gateway'), '--check'];
  const { status, stdout, stderr } = await lab.exec('gateway', argv, { timeoutMs: 20_000 });
  const fastpath = stdout.split('\n').filter((l) => l.startsWith('# fastpath'));
  return { status, text: [...fastpath, stderr].join('\n') };
}

/** Adds what the check and the choice of the fast path ask for, until they ask for nothing. */
async function mend(lab: Lab): Promise<{ status: number; text: string }> {
  let seen = await check(lab);
  for (let n = 0; n < 3 && remediesIn(seen.text).length > 0; n++) {
    for (const remedy of remediesIn(seen.text)) {
      const done = await lab.exec('gateway', ['sh', '-c', remedy]);
      expect(done.stderr, remedy).toBe('');
    }
    seen = await check(lab);
  }
  expect(seen.status, seen.text).toBe(0);
  expect(remediesIn(seen.text)).toEqual([]);
  return seen;
}

const PORT = 5555;

describe("a strict firewall, with the exceptions for the gateway's flows", () => {
  it.each(['on', 'stack', 'off'] as const)(
    'under fast path %s: no machine opens a connection to a client from the address and port of its service',
    async (fastpath) => {
      await withLab({ ...TWO_REPLICAS, roles: false }, async (lab) => {
        const server = `require('net').createServer((s) => s.end('reached')).listen(${PORT})`;
        lab.spawnIn('client', [process.execPath, '-e', server], { stdio: 'ignore' });
        // r2 sends from its port 80, at which its web server listens.
        const from80 = `table ip from80 { chain out { type nat hook postrouting priority 100;
          ip daddr 192.0.2.2 tcp dport ${PORT} snat to 198.18.12.2:80; }; }`;
        expect((await lab.exec('r2', ['nft', '-f', '-'], { input: from80 })).stderr).toBe('');
        const reach = async (): Promise<string> =>
          (await lab.exec('r2', ['curl', '-s', '--http0.9', '-m', '3', `http://192.0.2.2:${PORT}/`])).stdout;
        await lab.startRoles({ configuration: 'A', race: 'gateway', fastpath });
        expect(await waitUntil(async () => (await reach()) === 'reached', 10_000)).toBe(true);

        await lab.stopRole('gateway');
        const rules = FIREWALLS["a router's"];
        expect((await lab.exec('gateway', ['nft', '-f', '-'], { input: rules })).stderr).toBe('');
        expect(await reach()).toBe('');
        await mend(lab);
        lab.startRole('gateway');
        await lab.roles.waitUntilReady();
        expect((await requestMany(lab, 5, 1)).filter((r) => !r.ok)).toEqual([]);
        expect(await reach()).toBe('');
      });
    },
  );
});

describe.each(Object.entries(FIREWALLS))('%s rules', (name, rules) => {
  // Configuration C passes the same hooks: one firewall shows it.
  it.each(name === "a router's" ? (['A', 'C'] as const) : (['A'] as const))(
    'under %s: the check names what to add; with that it works',
    async (configuration) => {
      await withLab({ ...TWO_REPLICAS, roles: false }, async (lab) => {
        await lab.exec('client', ['ip', 'address', 'add', `${BLOCKED}/32`, 'dev', 'lan0']);
        await lab.startRoles({ configuration, race: 'learned' });
        expect((await requestMany(lab, 3, 1)).filter((r) => !r.ok)).toEqual([]);
        await lab.stopRole('gateway');
        const loaded = await lab.exec('gateway', ['nft', '-f', '-'], { input: rules });
        expect(loaded.stderr).toBe('');

        const seen = await mend(lab);
        expect(seen.text).toContain('fastpath stack');

        lab.startRole('gateway');
        await lab.roles.waitUntilReady();
        expect((await requestMany(lab, 10, 2)).filter((r) => !r.ok)).toEqual([]);
        const blocked = await lab.exec('client', [
          ...['curl', '-s', '-o', '/dev/null', '-m', '2', '--interface', BLOCKED, 'http://203.0.113.10/'],
        ]);
        expect(blocked.status).not.toBe(0);
      });
    },
  );
});
