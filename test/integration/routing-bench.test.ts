// Short runs of `bench routing`: what it measures holds, in small.
import { describe, expect, it } from 'vitest';
import { playChurn } from '../../src/lab/routed/churn.js';
import type { RoutingFigure } from '../../src/lab/routed/figure.js';
import { playRoutedFlood } from '../../src/lab/routed/flood.js';
import { playFromNothing } from '../../src/lab/routed/from-nothing.js';
import { playHello } from '../../src/lab/routed/hello.js';
import { playLoadAware } from '../../src/lab/routed/load-aware.js';
import { playMtu } from '../../src/lab/routed/mtu.js';
import { playOnePacket } from '../../src/lab/routed/one-packet.js';
import { playPolicy } from '../../src/lab/routed/policy.js';
import { playShares } from '../../src/lab/routed/shares.js';
import { playSpare } from '../../src/lab/routed/spare.js';
import { playRoutedSpeed } from '../../src/lab/routed/speed.js';

/** @returns the figures by id, printed so that a failure can be read */
function values(figures: readonly RoutingFigure[]): Record<string, number> {
  for (const f of figures) process.stderr.write(`${f.id} ${f.value} (${f.target}): ${f.what}\n`);
  return Object.fromEntries(figures.map((f) => [f.id, f.value]));
}

describe('bench routing, in small', () => {
  it('one-packet: routers below the first see one packet of each connection', async () => {
    const v = values(
      await playOnePacket({
        ...{ connections: 400, perSecond: 100, datagramFlows: 100 },
        shape: { networks: 1, systems: 2, sites: 2, servers: 2 },
      }),
    );
    expect([v['one-packet:served'], v['one-packet:answers']]).toEqual([1, 0]);
    expect(v['one-packet']).toBeGreaterThan(0.9);
    expect(v['one-packet:udp']).toBeGreaterThan(0.9);
  });

  it('spare: no connection breaks with one of two routers', async () => {
    const v = values(await playSpare({ connections: 90 }));
    expect([v['spare:killed'], v['spare:cut'], v['spare:cut-resets']]).toEqual([0, 0, 0]);
  });

  it('from-nothing: connections go on when all routers have lost everything', async () => {
    const v = values(await playFromNothing({ connections: 90 }));
    expect([v['from-nothing'], v['from-nothing:masqueraded'], v['from-nothing:split']]).toEqual([1, 1, 0]);
  });

  it('churn: no change of the set breaks a download or a new connection', async () => {
    const v = values(await playChurn({ changes: 6, seconds: 15, downloads: 60, perSecond: 20, seed: 1 }));
    expect(v.churn).toBe(0);
    expect(v['churn:shares']).toBeLessThan(2);
  });

  it('flood: no download breaks, and new connections are served', async () => {
    const v = values(await playRoutedFlood({ seconds: 4, downloads: 60, perSecond: 20, flood: 15_000 }));
    expect(v.flood).toBe(0);
    // A second without an answer is a machine that was busy, not a flood that won.
    expect(v['flood:new']).toBeGreaterThan(0.8);
  });

  it('load-aware: a server that became slow gets few requests', async () => {
    const v = values(await playLoadAware({ rounds: 1, seconds: [2, 10], perSecond: 8, seed: 1 }));
    expect(v['load-aware:slow']).toBeLessThan(0.2);
  });

  it('routed/plain: uploads and single packets go through', async () => {
    const timing = { rounds: 2, warmMs: 50, measureMs: 100 };
    const v = values(await playRoutedSpeed({ upload: timing, packets: timing }));
    expect(Math.min(v['routed/plain'], v['routed/plain:packets'])).toBeGreaterThan(0);
  });

  it('shares: each customer has its part of the link, and the accounts are right', async () => {
    const v = values(await playShares({ seconds: 3 }));
    // Points, of 20, 30 and 50.
    expect(v.shares).toBeLessThan(8);
    expect(v['shares:accounts']).toBeLessThan(0.02);
  });

  it('mtu: transfers arrive whole over narrow hops', async () => {
    const v = values(await playMtu({ transfers: 8, bytes: 1_000_000, datagrams: 10 }));
    expect([v.mtu, v['mtu:datagrams']]).toEqual([16, 1]);
  });

  it('policy: a signed one is in force soon, and no hostile one takes a connection', async () => {
    const v = values(await playPolicy({ perSecond: 20, intervalMs: 500 }));
    expect([v['policy:hostile'], v['policy:broken']]).toEqual([0, 0]);
    expect(v.policy).toBeLessThan(10);
  });

  it('hello: nothing forged or repeated is accepted', async () => {
    const v = values(await playHello({ forged: 6000, perSecond: 6000, members: 5, seconds: 2 }));
    expect([v['hello:certificates'], v['hello:forged']]).toEqual([0, 0]);
  });
});
