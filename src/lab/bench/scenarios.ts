/**
 * The bench's three scenes: the nearest replica dies; one of two equally near replicas is loaded; two replicas are
 * too close to call.
 */
import { spawn } from 'node:child_process';
import { Lab } from '../lab.js';
import { namespaceOf, wanAddress } from '../network.js';
import { inNamespace, pause, waitUntil } from '../process.js';
import type { Topology } from '../topology.js';
import { Client } from './connect.js';
import { blankTopology } from './random-topology.js';

export interface Figure {
  id: string;
  mode: string;
  value: number | string;
  target: string;
  met: 'yes' | 'no' | 'reported';
  command: string;
}

const SERVICE = '203.0.113.10';
const MANY = 60;

/** A topology of three replicas, with the given one-way delays from and to the gateway. */
function scene(gatewayMs: Record<string, number>): Topology {
  const t = blankTopology(3);
  for (const [host, ms] of Object.entries(gatewayMs)) {
    t.delaysMs.gateway[host] = ms;
    t.delaysMs[host].gateway = ms;
  }
  return t;
}

async function withScene<T>(
  name: string,
  t: Topology,
  body: (lab: Lab, client: Client) => Promise<T>,
): Promise<T> {
  const lab = await Lab.create({
    name: `bench-${process.pid}-${name}`,
    topology: t,
    configuration: 'A',
    race: 'learned',
    log: 'warn',
  });
  const client = new Client(lab);
  try {
    return await body(lab, client);
  } finally {
    client.end();
    await lab.down();
  }
}

export async function scenarios(command: string, say: (line: string) => void): Promise<Figure[]> {
  const out: Figure[] = [];
  const yes = (met: boolean): Figure['met'] => (met ? 'yes' : 'no');

  say('nearest-dies');
  await withScene('dies', scene({ origin: 60, r1: 15, r2: 30, r3: 50 }), async (lab, client) => {
    await client.connect(SERVICE, 80, 10, 2);
    // The machine falls silent: all packets from it and to it are lost.
    const lost: Record<string, { lossPct: number }> = {};
    for (const other of ['gateway', 'origin', 'r2', 'r3']) {
      lost[`r1>${other}`] = { lossPct: 100 };
      lost[`${other}>r1`] = { lossPct: 100 };
    }
    await lab.wan.setPaths(lost);
    const [first] = await client.connect(SERVICE, 80);
    const rest = await client.connect(SERVICE, 80, MANY, 4);
    const failed = [first, ...rest].filter((c) => c.servedBy === '').length;
    const hedges = await lab.roles.counter('gateway', 'fired.hedge');
    out.push({
      id: 'nearest-dies',
      mode: 'failed connections',
      value: failed,
      target: '0',
      met: yes(failed === 0),
      command,
    });
    // One hedge: at most 1.5 round trips and four variations of the dead replica, then the next best replica's own
    // time.
    const bound = 1.5 * 30 + 4 * 2 + 60 + 10;
    out.push({
      id: 'nearest-dies',
      mode: 'time to the next best, ms',
      value: Math.round(first.connectMs * 10) / 10,
      target: `<= ${bound} (one hedge)`,
      met: yes(first.servedBy === 'r2' && first.connectMs <= bound),
      command,
    });
    out.push({
      id: 'nearest-dies',
      mode: 'hedges fired',
      value: hedges,
      target: 'reported',
      met: 'reported',
      command,
    });
  });

  say('load-share');
  const loaded = scene({ origin: 60, r1: 20, r2: 20.2, r3: 50 });
  loaded.limits.r1 = { connections: 20, cpuPct: 100 };
  await withScene('load', loaded, async (lab, client) => {
    // Clients of r1 itself take eighteen of its twenty connections.
    const idle = `for (let i = 0; i < 18; i++) require('net').connect(80, '${wanAddress('r1')}'); setTimeout(() => {}, 120000)`;
    const [node, ...args] = inNamespace(namespaceOf(lab.name, 'client'), [process.execPath, '-e', idle]);
    const holder = spawn(node, args, { stdio: 'ignore' });
    try {
      const told = async (): Promise<boolean> => {
        const replicas = (await lab.roles.status('gateway')) as unknown as {
          replicas: { id: string; load: number }[];
        };
        return (replicas.replicas.find((r) => r.id === 'r1')?.load ?? 0) >= 0.85;
      };
      const seen = await waitUntil(told, 10_000);
      // Three races let the gateway learn how near the two are.
      await client.connect(SERVICE, 80, 8, 1);
      const all = await client.connect(SERVICE, 80, 120, 2);
      const near = all.filter((c) => c.servedBy === 'r1' || c.servedBy === 'r2');
      const share = near.filter((c) => c.servedBy === 'r1').length / all.length;
      out.push({
        id: 'load-share',
        mode: 'learned',
        value: share,
        target: '<= 0.25',
        met: yes(seen && share <= 0.25),
        command,
      });
    } finally {
      holder.kill('SIGTERM');
    }
  });

  say('too-close');
  const close = scene({ origin: 60, r1: 20, r2: 20.1, r3: 50 });
  for (const r of ['r1', 'r2']) {
    close.paths[`gateway>${r}`] = { jitterMs: 2 };
    close.paths[`${r}>gateway`] = { jitterMs: 2 };
  }
  await withScene('close', close, async (lab, client) => {
    const all = [];
    // Races by lot are rare, so there are enough connections that some of them are raced.
    for (let round = 0; round < 6; round++) {
      all.push(...(await client.connect(SERVICE, 80, MANY, 4)));
      await pause(50);
    }
    const races = await lab.roles.races(4096);
    const said = races.filter((r) => r.rule.includes('too close to call')).length;
    const raced = races.filter((r) => r.candidates.filter((c) => c.replyUs !== null).length > 1).length;
    const share = all.filter((c) => c.servedBy === 'r1').length / all.length;
    const elsewhere = all.filter((c) => c.servedBy !== 'r1' && c.servedBy !== 'r2').length;
    out.push({
      id: 'too-close',
      mode: 'learned',
      value: `r1 ${Math.round(share * 100)} %, others ${elsewhere}; "too close to call" in ${said} of ${raced} races`,
      target: 'reported, and split',
      met: yes(said > 0 && elsewhere === 0 && share >= 0.2 && share <= 0.8),
      command,
    });
  });
  return out;
}
