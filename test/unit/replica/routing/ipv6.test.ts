// A server's stages over IPv6, beside IPv4: which tunnels are opened.
import { describe, expect, it } from 'vitest';
import { createPipeline, type ServerSnapshot } from '../../../../replica/routing/pipeline.js';
import { ManualClock } from '../../../../src/device/clock.js';
import { HoldQueue } from '../../../../src/device/hold-queue.js';
import { memoryPair } from '../../../../src/device/memory.js';
import { Batch } from '../../../../src/pipeline/batch.js';
import { Runner } from '../../../../src/pipeline/pipeline.js';
import { MAX_REASONS } from '../../../../src/pipeline/reasons.js';
import { prefixOf } from '../../../../src/routing/virtual.js';
import { parse } from '../../../../src/wire/address.js';
import { ip, tcp, tunnel } from '../../../support/builder.js';
import { frame } from '../../../support/naive.js';
import {
  CLIENT,
  CLIENT6,
  MEMBERS,
  MEMBERS6,
  UPPER,
  UPPER6,
  VIRTUAL,
  VIRTUAL6,
} from '../../../support/slr.js';
import { error6, frame6, tunnel6, udp6 } from '../../../support/v6.js';

const SNAPSHOT: ServerSnapshot = {
  hosts: [`${VIRTUAL}/32`, `${VIRTUAL6}/128`].map(prefixOf),
  routers: [`${UPPER}/32`, `${UPPER6}/128`].map(prefixOf),
  ...{ address: parse(MEMBERS[0])!, giveBackTo: parse(UPPER)!, isWhole: true },
  ...{ address6: parse(MEMBERS6[0])!, giveBackTo6: parse(UPPER6)! },
};

/** @returns what a server makes of frames, and its counters that are not 0 */
function served(...frames: Uint8Array[]): { out: Uint8Array[]; counts: Record<string, number> } {
  const clock = new ManualClock();
  const batch = new Batch(clock, new Float64Array(MAX_REASONS));
  const hold = new HoldQueue([]);
  const [inside, outside] = memoryPair();
  const pipeline = createPipeline({
    ...{ clock, batch, hold, memory: {}, gauges: new Float64Array(0), options: {}, kernel: undefined },
  });
  pipeline.load(SNAPSHOT);
  inside.queue.push(...frames);
  new Runner(inside, batch, hold, pipeline.stages, clock).run();
  const counts = pipeline.reasons.map((name, i) => [name, batch.counters[i]] as const);
  return { out: outside.queue.splice(0), counts: Object.fromEntries(counts.filter(([, n]) => n !== 0)) };
}

const inTunnel = (inner: Uint8Array, from: string = UPPER6): Uint8Array => tunnel6(inner, from, MEMBERS6[0]);
const syn = frame6({ src: CLIENT6, dst: VIRTUAL6 });

describe('tunnels of the routers above', () => {
  it('are opened: what a client sent over TCP or UDP, and errors about what the server sent', () => {
    const quotes = frame6({ src: VIRTUAL6, dst: CLIENT6, sport: 80, dport: 40_000, flags: 'A' });
    const all = [
      syn,
      udp6(CLIENT6, VIRTUAL6, 40_000, 53, [1, 2, 3]),
      error6({ src: '2001:db8:99::1', dst: VIRTUAL6, type: 2, mtu: 1400, quotes }),
    ];
    const { out, counts } = served(...all.map((f) => inTunnel(f)));
    expect(out).toEqual(all);
    expect(counts).toEqual({ 'pass.opened': 3 });
  });

  it('of either family stand side by side', () => {
    const v4 = ip(CLIENT, VIRTUAL, tcp(1000, 80, 'S', { seq: 1 }));
    const { out } = served(frame(tunnel(UPPER, MEMBERS[0], v4)), inTunnel(syn));
    expect(out).toEqual([frame(v4), syn]);
  });

  it('take the congestion mark inward, and are dropped where the sender knows none', () => {
    const marked = (first: number): Uint8Array => tunnel6(syn, UPPER6, MEMBERS6[0], first);
    expect(served(marked(0x60300000)).counts).toEqual({ 'drop.ecn': 1 });
  });
});

describe('other tunnels stay as they are', () => {
  it.each([
    ['of a stranger', inTunnel(syn, CLIENT6)],
    ['for another address', inTunnel(frame6({ src: CLIENT6, dst: '2001:db8:80::81' }))],
  ])('%s', (_, f) => {
    expect(served(f)).toEqual({ out: [f], counts: { 'pass.tunnel-not-ours': 1 } });
  });

  it.each([
    ['a tunnel in it', inTunnel(inTunnel(syn)), 'drop.tunnel-inner'],
    ['nothing that can be read in it', inTunnel(new Uint8Array(30)), 'drop.malformed'],
  ])('with %s they are dropped', (_, f, reason) => {
    expect(served(f)).toEqual({ out: [], counts: { [reason]: 1 } });
  });
});
