// Shows that captures on the WAN agree with the table of packet forms in this file, row by row; that the tag is in
// the client's SYN on the WAN, and in no SYN that a web server's stack receives; and that losers leave SYN-RECEIVED
// within one round trip plus 100 ms, by the captures' own timestamps.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import { pause, waitUntil } from '../../src/lab/process.js';
import { type RequestResult, requestMany } from '../../src/lab/requests.js';
import { CONFIGURATIONS } from '../../src/race/records.js';
import { type Captured, during, form, tagOf } from './capture.js';
import { freshName, pathsAreKnown, untilServedBy } from './lab-support.js';

const REQUESTS = 5;
const NAMES: Record<string, string> = {
  '192.0.2.2': 'C',
  '203.0.113.10': 'S',
  '198.18.2.2': 'O',
  '198.18.11.2': 'r1',
  '198.18.12.2': 'r2',
  '198.18.13.2': 'r3',
};
const WINNER = 'r2';
const LOSERS = ['r1', 'r3'];

/** The distinct forms of the packets that match, sorted. */
function forms(packets: Captured[], fits: (p: Captured) => boolean): string[] {
  return [
    ...new Set(packets.filter((p) => p.tcp !== undefined && fits(p)).map((p) => form(p, NAMES))),
  ].sort();
}
const has = (flags: string) => (p: Captured) => p.tcp?.flags === flags;
const isData = (p: Captured) => (p.tcp?.payload ?? 0) > 0;

/** The table of packet forms, per configuration, with R written out. */
const TABLE = {
  A: {
    synAck: (r: string) => `[${r}→C]`,
    toReplica: (r: string) => `[C→${r}]`,
    fromReplica: (r: string) => `[${r}→C]`,
    reset: (r: string) => `[C→${r}]`,
  },
  B: {
    synAck: (r: string) => `[S→C][${r}→C]`,
    toReplica: (r: string) => `[C→${r}]`,
    fromReplica: () => '[S→C]',
    reset: (r: string) => `[C→${r}]`,
  },
  C: {
    synAck: (r: string) => `[${r}→C][S→C]`,
    toReplica: (r: string) => `[C→${r}][C→S]`,
    fromReplica: (r: string) => `[${r}→C][S→C]`,
    reset: (r: string) => `[C→${r}][C→S]`,
  },
} as const;

describe.each(CONFIGURATIONS)('configuration %s on the wire', (configuration) => {
  const table = TABLE[configuration];
  let lab: Lab;
  let seen: Record<string, Captured[]>;
  let results = [{ servedBy: 'none' }] as RequestResult[];

  beforeAll(async () => {
    lab = await Lab.create({ name: freshName(), seed: 1, topology: 'replica-nearest', configuration });
    // Until a path has been probed, SYNs announce an MSS that nearly every path carries.
    expect(await waitUntil(() => pathsAreKnown(lab), 10_000)).toBe(true);
    await untilServedBy(lab, WINNER, 1);
    // The slowest losers' resets of these requests are still under way.
    await pause(500);
    const replicas = ['r1', 'r2', 'r3'];
    const devices = [
      'client:lan0',
      'gateway:lan0',
      'gateway:wan0',
      'origin:wan0',
      'server:lan0',
      ...replicas.flatMap((r) => [`${r}:wan0`, `${r}:fsre`]),
    ];
    // A race that a stall of the machine lost is captured anew.
    for (let tries = 0; tries < 3 && !results.every((r) => r.servedBy === WINNER); tries++)
      seen = await during(lab, devices, async () => {
        results = await requestMany(lab, REQUESTS, 1);
        // Waits for the slowest loser's reset, which is still under way.
        await pause(500);
      });
  });
  afterAll(async () => {
    await lab?.down();
  });

  it('every request was served by the nearest replica', () => {
    expect(results.map((r) => r.servedBy)).toEqual(Array(REQUESTS).fill(WINNER));
  });

  it("the client's SYN is tagged on the WAN, [C→S], and untagged on the LAN", () => {
    const wan = seen['gateway:wan0'].filter(has('S'));
    expect(wan.map((p) => form(p, NAMES))).toEqual(Array(REQUESTS).fill('[C→S]'));
    for (const p of wan) expect(tagOf(p)?.length).toBe(16);
    const lan = seen['client:lan0'].filter(has('S'));
    expect(lan.length).toBe(REQUESTS);
    for (const p of lan) expect(tagOf(p)).toBeUndefined();
  });

  it('the other options of the SYN keep their bytes and their order', () => {
    const [before] = seen['client:lan0'].filter(has('S'));
    const after = seen['gateway:wan0'].filter(has('S')).find((p) => p.tcp?.seq === before.tcp?.seq);
    const rest = after!.tcp!.options.filter((o) => o.kind !== 253);
    // In configuration C the MSS leaves room for the tunnel.
    const kept = (o: { kind: number }) => configuration !== 'C' || o.kind !== 2;
    expect(rest.filter(kept)).toEqual(before.tcp!.options.filter(kept));
    expect(after!.tcp!.mss).toBe(configuration === 'C' ? 1440 : before.tcp!.mss);
  });

  it('the origin sends each replica [O→R][C→S], with the tag', () => {
    const copies = seen['origin:wan0'].filter((p) => p.headers.length === 2 && has('S')(p));
    expect(forms(copies, () => true)).toEqual(['[O→r1][C→S]', '[O→r2][C→S]', '[O→r3][C→S]']);
    expect(copies.length).toBe(3 * REQUESTS);
    for (const p of copies) expect(tagOf(p)?.length).toBe(16);
  });

  it("no web server's stack sees a tag: not the origin's own, nor any replica's", () => {
    const own = seen['server:lan0'].filter(has('S'));
    expect(own.map((p) => form(p, NAMES))).toEqual(Array(REQUESTS).fill('[C→S]'));
    for (const p of own) expect(tagOf(p)).toBeUndefined();
    for (const r of ['r1', 'r2', 'r3']) {
      // The TUN carries the tunnelled copy to the role, and the decapsulated SYN to the stack.
      const cracked = seen[`${r}:fsre`].filter((p) => p.headers.length === 1 && has('S')(p));
      expect(cracked.map((p) => form(p, NAMES))).toEqual(
        Array(REQUESTS).fill(configuration === 'A' ? `[C→${r}]` : '[C→S]'),
      );
      for (const p of cracked) expect(tagOf(p)).toBeUndefined();
    }
  });

  it("each replica's SYN-ACK has the table's form", () => {
    for (const r of ['r1', 'r2', 'r3'])
      expect(forms(seen[`${r}:wan0`], has('SA'))).toEqual([table.synAck(r)]);
    const expected = ['[S→C]', ...['r1', 'r2', 'r3'].map(table.synAck)];
    expect(forms(seen['gateway:wan0'], has('SA'))).toEqual(expected.sort());
  });

  it('the client sees one SYN-ACK per connection, from S, and never a reset', () => {
    expect(seen['client:lan0'].filter(has('SA')).map((p) => form(p, NAMES))).toEqual(
      Array(REQUESTS).fill('[S→C]'),
    );
    expect(forms(seen['client:lan0'], (p) => p.headers[0].dst === '192.0.2.2')).toEqual(['[S→C]']);
    expect(seen['client:lan0'].filter((p) => p.tcp?.flags.includes('R'))).toEqual([]);
  });

  it("data has the table's form, in both directions", () => {
    const wan = seen['gateway:wan0'];
    expect(forms(wan, (p) => isData(p) && p.headers[0].src === '192.0.2.2')).toEqual([
      table.toReplica(WINNER),
    ]);
    expect(forms(wan, (p) => isData(p) && p.headers[0].dst === '192.0.2.2')).toEqual([
      table.fromReplica(WINNER),
    ]);
    expect(forms(seen[`${WINNER}:wan0`], isData)).toEqual(
      [table.toReplica(WINNER), table.fromReplica(WINNER)].sort(),
    );
  });

  it('after the choice no packet but a reset reaches a second responder', () => {
    const fromClient = (p: Captured) =>
      p.headers.at(-1)?.src === '192.0.2.2' && p.headers[0].src === '192.0.2.2';
    for (const loser of LOSERS) {
      const received = seen[`${loser}:wan0`].filter((p) => p.tcp !== undefined && fromClient(p));
      expect(new Set(received.map((p) => p.tcp?.flags))).toEqual(new Set(['R']));
    }
    const atServer = seen['server:lan0'].filter(
      (p) => p.tcp !== undefined && p.headers[0].src === '192.0.2.2',
    );
    expect(new Set(atServer.map((p) => p.tcp?.flags))).toEqual(new Set(['S', 'R']));
  });

  it("resets have the table's form, the SYN-ACK's ack as their seq, and no ACK flag", () => {
    for (const loser of [...LOSERS, 'server']) {
      const packets = seen[loser === 'server' ? 'server:lan0' : `${loser}:wan0`];
      const resets = packets.filter(has('R'));
      expect(forms(resets, () => true)).toEqual([loser === 'server' ? '[C→S]' : table.reset(loser)]);
      const acks = packets.filter(has('SA')).map((p) => p.tcp!.ack);
      expect(resets.map((p) => p.tcp!.seq).sort()).toEqual([...new Set(acks)].sort());
      expect(resets.length).toBe(REQUESTS);
    }
    expect(seen[`${WINNER}:wan0`].filter(has('R'))).toEqual([]);
  });

  it('losers leave SYN-RECEIVED within one round trip plus 100 ms', () => {
    for (const loser of [...LOSERS, 'server']) {
      const packets = seen[loser === 'server' ? 'server:lan0' : `${loser}:wan0`];
      const wanHost = loser === 'server' ? 'origin' : loser;
      const { delaysMs } = lab.topology;
      const rttMs = delaysMs[wanHost].gateway + delaysMs.gateway[wanHost];
      for (const reset of packets.filter(has('R'))) {
        const first = packets.find((p) => has('SA')(p) && p.tcp!.ack === reset.tcp!.seq);
        expect((reset.time - first!.time) * 1000).toBeLessThan(rttMs + 100);
      }
    }
  });
});
