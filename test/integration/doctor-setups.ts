// Broken set-ups for the test of `firstack doctor`: how each is made and undone, and what must be found.

import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { parse, stringify } from 'yaml';
import type { Lab } from '../../src/lab/lab.js';
import { cliScript } from '../../src/lab/paths.js';
import { mustRun, type Output, run, waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';

const SERVICE = '203.0.113.10';
const keptConnections = fileURLToPath(new URL('../support/kept-connections.mjs', import.meta.url));
export const WITHIN_MS = 25_000;

export const doctor = (lab: Lab, ...args: string[]): Promise<Output> =>
  run([process.execPath, cliScript, 'doctor', '--lab', lab.name, ...args]);

export async function expectWhole(lab: Lab): Promise<Output> {
  let last: Output | undefined;
  const isWhole = async (): Promise<boolean> => (last = await doctor(lab)).status === 0;
  expect(await waitUntil(isWhole, WITHIN_MS, 200), `${last?.stdout}${last?.stderr}`).toBe(true);
  expect(last!.stdout).toMatch(/nothing is wrong\n$/);
  return last!;
}

export const shell = async (lab: Lab, host: string, script: string): Promise<void> => {
  const { status, stderr } = await lab.exec(host, ['sh', '-ec', script]);
  expect([script, status, stderr]).toEqual([script, 0, stderr]);
};

/** Restarts a host's role with a changed file. @returns the undoing */
async function restartWith(
  lab: Lab,
  host: string,
  change: (file: Record<string, unknown>) => void,
): Promise<() => Promise<void>> {
  const path = lab.roles.configFile(host);
  const good = readFileSync(path, 'utf8');
  const file = parse(good) as Record<string, unknown>;
  change(file);
  const restart = async (text: string): Promise<void> => {
    writeFileSync(path, text);
    await lab.stopRole(host);
    lab.startRole(host);
  };
  await restart(stringify(file));
  return () => restart(good);
}

/** A way to a Unix socket that can be cut: then it passes nothing on, and refuses nothing. */
async function proxyTo(to: string, at: string): Promise<{ cut(): void; close(): void }> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((from) => {
    sockets.add(from);
    from.on('error', () => {});
    if (isCut) return;
    const onward = connect(to);
    sockets.add(onward);
    onward.on('error', () => from.destroy());
    from.on('close', () => onward.destroy());
    from.pipe(onward).pipe(from);
  });
  await new Promise<void>((resolve) => server.listen(at, resolve));
  return {
    cut: () => {
      isCut = true;
      for (const s of sockets) s.unpipe().pause();
    },
    close: () => {
      for (const s of sockets) s.destroy();
      server.close();
    },
  };
}

export interface Setup {
  name: string;
  /** @returns the undoing */
  breaks: (lab: Lab) => Promise<() => Promise<unknown> | unknown>;
  /** Of the report: `WHERE: WHAT\n    RUN`. */
  finds: RegExp;
  /** It follows from several causes, or is one of several. */
  isOneOfSeveral?: boolean;
}

const bySh = (host: string, doing: string, undoing: string): Setup['breaks'] => {
  return async (lab) => {
    await shell(lab, host, doing);
    return () => shell(lab, host, undoing);
  };
};
const pausing =
  (...hosts: string[]): Setup['breaks'] =>
  async (lab) => {
    for (const h of hosts) lab.webServer(h).pause();
    return () => {
      for (const h of hosts) lab.webServer(h).resume();
    };
  };
const killing =
  (host: string): Setup['breaks'] =>
  async (lab) => {
    await lab.killRole(host);
    return () => lab.startRole(host);
  };
const pidOfRedis = (lab: Lab): number => lab.state.find('redis')!.pid;
const redis = (lab: Lab, ...words: string[]): Promise<string> =>
  mustRun(['redis-cli', '-s', lab.redis.socket, ...words]);

const UP = 'ip link set wan0 up; ip route replace default via 198.18.11.1';

export const SETUPS: readonly Setup[] = [
  ...['gateway', 'origin'].map((host) => ({
    name: `forwarding is off at the ${host}`,
    breaks: bySh(host, 'sysctl -qw net.ipv4.ip_forward=0', 'sysctl -qw net.ipv4.ip_forward=1'),
    finds: new RegExp(`-${host}: FSA_FORWARDING_OFF: .*\n    sysctl -w net.ipv4.ip_forward=1\n`),
  })),
  {
    name: 'sources are translated on the WAN of a gateway under C',
    breaks: bySh(
      'gateway',
      'nft add table ip fw; nft "add chain ip fw nat { type nat hook postrouting priority 100; }"; nft add rule ip fw nat oifname wan0 masquerade',
      'nft delete table ip fw',
    ),
    finds:
      /-gateway: FSA_MASQUERADE: ip fw nat translates sources on wan0.*\n {4}nft -a list chain ip fw nat /,
  },
  {
    name: "a replica has lost the service's address",
    breaks: bySh('r1', `ip address del ${SERVICE}/32 dev lo`, `ip address add ${SERVICE}/32 dev lo`),
    finds: /-r1: FSA_ADDRESS_NOT_LOCAL: .*\n {4}ip address add 203\.0\.113\.10\/32 dev lo\n/,
  },
  {
    name: 'the WAN interface of a replica is down',
    breaks: bySh('r1', 'ip link set wan0 down', UP),
    finds: /-r1: FSA_INTERFACE_DOWN: wan: interface 'wan0' is down.*\n {4}ip link set wan0 up\n/,
  },
  {
    name: 'the WAN interface of a replica has another name',
    breaks: bySh(
      'r1',
      'ip link set wan0 down; ip link set wan0 name gone0',
      `ip link set gone0 name wan0; ${UP}`,
    ),
    finds:
      /-r1: FSA_INTERFACE_MISSING: wan: there is no interface 'wan0'.*gone0.*\n {4}ip -br link; grep .*r1\.yaml/,
  },
  ...['gateway', 'origin', 'r2'].map((host) => ({
    name: `the role of ${host} was killed`,
    breaks: killing(host),
    finds: new RegExp(`^${host}: no role answers at unix:.*\n    tail -n 20 .*/${host}\\.log\n`, 'm'),
  })),
  {
    name: 'the process of the origin is stopped',
    breaks: async (lab) => {
      const pid = lab.roles.pid('origin')!;
      process.kill(pid, 'SIGSTOP');
      return () => process.kill(pid, 'SIGCONT');
    },
    finds: /^origin: no role answers at .*no answer in 3000 ms.*\n {4}tail .*origin\.log/m,
  },
  {
    name: "a replica's web server does not answer",
    breaks: pausing('r2'),
    finds:
      /-r2: takes no new connections: inactive: health check: no answer in 400 ms\n {4}curl .* http:\/\/198\.18\.12\.2:80\/healthz\n/,
  },
  {
    name: 'no replica has a web server that answers',
    breaks: pausing('r1', 'r2', 'r3'),
    finds:
      /-r1: takes no (.*\n)*.*-r2: takes no (.*\n)*.*-r3: takes no (.*\n)*.*-gateway: service web has no replica that is up \(of 3\).*\n {4}firstack status --admin unix:.*gateway\.sock/,
    isOneOfSeveral: true,
  },
  {
    name: "one of the origin's servers does not answer",
    breaks: pausing('s2'),
    finds:
      /-origin: server 10\.203\.2\.2 of web gets no connections: health check.*\n {4}curl .*http:\/\/10\.203\.2\.2:80\/healthz/,
  },
  {
    name: "all of the origin's servers are down",
    breaks: pausing('server', 's2'),
    finds:
      /-origin: all 2 servers of web are down: 10\.203\.1\.2 \(health check.*10\.203\.2\.2.*\n {4}curl .*http:\/\/10\.203\.1\.2:80\/healthz/,
  },
  {
    name: 'Redis is stopped',
    breaks: async (lab) => {
      process.kill(pidOfRedis(lab), 'SIGSTOP');
      return () => process.kill(pidOfRedis(lab), 'SIGCONT');
    },
    finds:
      /^registry: registry redis\+unix:.* does not answer .*all 5 roles go on.*\n {4}redis-cli -s .*redis\.sock ping\n/m,
  },
  {
    name: 'Redis refuses writes',
    breaks: async (lab) => {
      await redis(lab, 'CONFIG', 'SET', 'maxmemory', '1');
      return () => redis(lab, 'CONFIG', 'SET', 'maxmemory', '0');
    },
    finds: /^registry: registry .* refuses writes \(OOM.*all 5 roles.*\n {4}redis-cli -s .* INFO memory/m,
  },
  {
    name: 'a replica was drained',
    breaks: async (lab) => {
      const admin = ['--admin', `unix:${lab.roles.adminSocket('r2')}`];
      await mustRun([process.execPath, cliScript, 'replica', 'drain', ...admin]);
      return () => mustRun([process.execPath, cliScript, 'replica', 'resume', ...admin]);
    },
    finds:
      /-r2: takes no new connections: inactive: drained.*\n {4}firstack replica resume --admin unix:.*r2\.sock/,
  },
  {
    name: "a replica's clock is 40 s off",
    breaks: async (lab) => {
      lab.roles.options.clockOffsetsMs = { r2: 40_000 };
      const undo = await restartWith(lab, 'r2', () => {});
      return async () => {
        lab.roles.options.clockOffsetsMs = {};
        await undo();
      };
    },
    finds: /-r2: clock is 40 s ahead of the registry's.*\n {4}chronyc tracking/,
  },
  {
    name: 'another program removes the policy rule again and again',
    breaks: async (lab) => {
      const loop = lab.spawnIn(
        'gateway',
        ['sh', '-c', 'while :; do ip rule del pref 7411; sleep 0.1; done'],
        {
          stdio: 'ignore',
        },
      );
      return async () => {
        loop.kill();
        // What the role gave way about it tries again after five minutes, or when it starts.
        await (await restartWith(lab, 'gateway', () => {}))();
      };
    },
    finds:
      /-gateway: ip rule .* again and again.*: no longer put back.*\n {4}firstack events --since 10m --admin unix:.*gateway\.sock/,
  },
  {
    name: "the gateway's flow table is full",
    breaks: async (lab) => {
      const undo = await restartWith(lab, 'gateway', (file) => (file.flows = { max: 16 }));
      await expectWhole(lab);
      const { address, ports } = lab.topology.services[0];
      // Living connections: others would make room.
      const argv = [process.execPath, keptConnections, address, String(ports[0]), '30000', '16'];
      const child = lab.spawnIn('client', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
      child.stdin!.write('ask\n');
      await once(child.stdout!, 'data');
      await requestMany(lab, 12, 4);
      return async () => {
        child.stdin!.end();
        await undo();
      };
    },
    finds: /-gateway: the flow table is full \(flows\.max\).*\n {4}grep -n "flows" -A2 .*gateway\.yaml/,
  },
  {
    name: 'the role file of a replica was copied to another host',
    breaks: (lab) => restartWith(lab, 'r3', (file) => (file.id = 'r2')),
    finds:
      /^r3: no role answers at .*; the last that it said: FSA_IDENTITY_TAKEN: .*runs as replica r2 too.*\n {4}grep .*gatewayId" .*r3\.yaml/m,
  },
  {
    name: 'a replica has another registry',
    breaks: async (lab) => {
      const other = `${lab.directory}/other`;
      mkdirSync(other);
      const socket = `${other}/redis.sock`;
      const argv = ['redis-server', '--port', '0', '--unixsocket', socket, '--save', '', '--dir', other];
      const child = lab.spawnIn('r2', argv, { stdio: 'ignore' });
      lab.roles.options.registryUrls = { r2: `redis+unix://${socket}` };
      const answers = async (): Promise<boolean> =>
        (await run(['redis-cli', '-s', socket, 'ping'])).status === 0;
      expect(await waitUntil(answers, 5000)).toBe(true);
      const undo = await restartWith(lab, 'r2', () => {});
      return async () => {
        lab.roles.options.registryUrls = undefined;
        await undo();
        child.kill();
      };
    },
    finds:
      /^registry: roles have different registries, .*-r2: redis\+unix:.*other.*\n {4}grep -n "\^registry" .*r2\.yaml/m,
  },
  {
    name: 'one replica alone does not reach Redis',
    breaks: async (lab) => {
      const way = await proxyTo(lab.redis.socket, `${lab.directory}/redis-way.sock`);
      lab.roles.options.registryUrls = { r2: `redis+unix://${lab.directory}/redis-way.sock` };
      const undo = await restartWith(lab, 'r2', () => {});
      await expectWhole(lab);
      way.cut();
      return async () => {
        lab.roles.options.registryUrls = undefined;
        await undo();
        way.close();
      };
    },
    finds:
      /^registry: registry redis.*redis-way\.sock does not answer .*-r2 of 5 roles: look at the way from there.*\n {4}redis-cli -s .*redis-way\.sock ping/m,
  },
  {
    name: 'a machine acknowledges and serves nothing',
    breaks: async (lab) => {
      const load = ['load', `http://${SERVICE}/`, '--rate', '40', '--duration', '100s', '--timeout', '8s'];
      const child = lab.spawnIn('client', [process.execPath, cliScript, ...load], { stdio: 'ignore' });
      const wins = async (): Promise<boolean> => {
        const status = (await lab.roles.status('gateway')) as unknown as {
          machines: { id: string; firstBytes: number }[];
        };
        // The gateway may just have begun to know it.
        return (status.machines.find((m) => m.id === 'r2')?.firstBytes ?? 0) > 50;
      };
      expect(await waitUntil(wins, 20_000)).toBe(true);
      await shell(
        lab,
        'wan',
        'nft add table inet broken; nft "add chain inet broken f { type filter hook forward priority 0; }"; nft add rule inet broken f iifname to-r2 meta length gt 100 drop',
      );
      return async () => {
        child.kill();
        await shell(lab, 'wan', 'nft delete table inet broken');
        await (await restartWith(lab, 'gateway', () => {}))();
      };
    },
    finds:
      /-gateway: machine r2 is not raced for web: \d+ of \d+ requests had no first byte.*\n {4}firstack events --since 1h --admin unix:.*gateway\.sock/,
  },
];
