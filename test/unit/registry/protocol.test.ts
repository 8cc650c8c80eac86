import { pack } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { FirstackError } from '../../../src/errors.js';
import { Skimmer } from '../../../src/lab/bench/registry-line.js';
import { type ProximityRecord, proximityKind } from '../../../src/proximity/record.js';
import {
  gatewayKind,
  type OriginRecord,
  originKind,
  type ReplicaRecord,
  raceKinds,
  replicaKind,
} from '../../../src/race/records.js';
import { ClockCheck, clockProblem } from '../../../src/registry/clock-check.js';
import { sentinelOptions, shown, startError, unixOptions } from '../../../src/registry/connect.js';
import { GRACE_MS, keyOf, kindOf, parseKey, topicOf } from '../../../src/registry/keys.js';
import { Known } from '../../../src/registry/known.js';
import { newsOf } from '../../../src/registry/news.js';
import { serviceKind } from '../../../src/registry/service.js';

const replica: ReplicaRecord = {
  ...{ v: 1, id: 'r1', address: '198.51.100.11', services: [{ name: 'web' }], state: 'up', reason: '' },
  ...{ connections: 0, load: 0.3, clock: 'free' },
};
const origin: OriginRecord = {
  ...{
    v: 1,
    id: 'o1',
    address: '198.51.100.1',
    services: ['web'],
    release: 'immediate',
    distancesMs: { r1: 5 },
  },
};
const proximity: ProximityRecord = {
  ...{ v: 1, id: 9, site: 'zurich' },
  entries: [{ service: 'web', candidate: 'r1', rttUs: 20_000, variationUs: 500 }],
};

describe('news', () => {
  it('is every new record, and every change on which other roles act', () => {
    expect(newsOf(replicaKind, undefined, replica)).toBe('now');
    for (const change of [
      { state: 'busy' },
      { address: '198.51.100.12' },
      { clock: 'synchronized' },
      { services: [] },
    ])
      expect(newsOf(replicaKind, replica, { ...replica, ...change } as ReplicaRecord)).toBe('now');
    expect(newsOf(originKind, origin, { ...origin, release: 'synchronized' })).toBe('now');
    expect(
      newsOf(gatewayKind, { v: 1, id: 1, prefixes: [] }, { v: 1, id: 1, prefixes: ['10.0.0.0/8'] }),
    ).toBe('now');
  });

  it('is no small fluctuation; a load has steps, and can wait', () => {
    expect(newsOf(replicaKind, replica, { ...replica, connections: 99, reason: 'x', load: 0.35 })).toBe(
      'none',
    );
    for (const load of [0.4, 0.2, 1])
      expect(newsOf(replicaKind, replica, { ...replica, load })).toBe('later');
    expect(newsOf(originKind, origin, { ...origin, distancesMs: { r1: 9, r2: 1 } })).toBe('none');
  });

  it('of a site is a newly measured machine; later measurements can wait', () => {
    const [entry] = proximity.entries;
    expect(newsOf(proximityKind, proximity, { ...proximity, entries: [{ ...entry, rttUs: 1 }] })).toBe(
      'later',
    );
    const entries = [entry, { ...entry, candidate: 'r2' }];
    expect(newsOf(proximityKind, proximity, { ...proximity, entries })).toBe('now');
    expect(newsOf(proximityKind, proximity, structuredClone(proximity))).toBe('none');
  });
});

describe('keys', () => {
  it('have a kind and an id; a site is a topic of its own', () => {
    expect(parseKey(keyOf('replica', 'r1'))).toEqual({ kind: 'replica', id: 'r1' });
    for (const other of [
      'firstack:v1:epoch',
      'firstack:v1:changes:replica',
      'x:replica:r1',
      'firstack:v1:replica:',
    ])
      expect(parseKey(other)).toBeUndefined();
    expect(topicOf(proximityKind, proximity)).toBe('proximity:zurich');
    expect(kindOf('proximity:zurich')).toBe('proximity');
    expect(topicOf(replicaKind, replica)).toBe('replica');
  });
});

describe('the known records', () => {
  const key = keyOf('replica', 'r1');
  const said: unknown[] = [];
  const make = (): Known =>
    new Known({ warn: (...args: unknown[]) => void said.push(args) } as never, [serviceKind, ...raceKinds]);
  const taken = (known: Known, k: string, bytes: Buffer | null, now: number, grace = 0): string[] => {
    known.take(k, bytes, now, grace);
    known.rebuild();
    return [
      ...known.view.of(replicaKind).map((r) => r.id),
      ...known.view.of(gatewayKind).map((g) => `gateway ${g.id}`),
    ];
  };

  it('make a view that is replaced when a record changed, and only then', () => {
    const known = make();
    known.take(key, pack(replica), 1, 0);
    expect(known.rebuild()).toBe(true);
    const { view } = known;
    known.take(key, pack(replica), 2, 0);
    expect(known.rebuild()).toBe(false);
    expect(known.view).toBe(view);
    known.take(key, pack({ ...replica, state: 'busy' }), 3, 0);
    expect(known.rebuild()).toBe(true);
    expect(known.view.of(replicaKind)[0].state).toBe('busy');
    // The lists of kinds without a change stay the same objects.
    expect(known.view.of(serviceKind)).toBe(view.of(serviceKind));
  });

  it('lose a replica at once, but none in the time of grace, and a gateway after it', () => {
    const known = make();
    taken(known, key, pack(replica), 1);
    expect(taken(known, key, null, 2, 100)).toEqual(['r1']);
    expect(known.missing).toEqual([key]);
    expect(taken(known, key, pack(replica), 3, 100)).toEqual(['r1']);
    expect(known.missing).toEqual([]);
    expect(taken(known, key, null, 101, 100)).toEqual([]);
    const gateway = keyOf('gateway', '7');
    expect(taken(known, gateway, pack({ v: 1, id: 7, prefixes: ['10.0.0.0/8'] }), 1)).toEqual(['gateway 7']);
    expect(taken(known, gateway, null, 2)).toEqual(['gateway 7']);
    expect(taken(known, gateway, null, 2 + GRACE_MS)).toEqual([]);
    expect(known.missing).toEqual([]);
  });

  it("leave out a record that does not match its schema, or is under another record's key", () => {
    const known = make();
    for (const bad of [Buffer.from([0xc1]), pack({ id: 'r1' }), pack({ ...replica, id: 'r2' })])
      expect(taken(known, key, bad, 1)).toEqual([]);
    expect(said.length).toBe(3);
  });

  it('lose kinds that are not followed', () => {
    const known = make();
    taken(known, key, pack(replica), 1);
    known.take(key, null, 2, 100);
    known.keepOnly(['service', 'gateway']);
    known.rebuild();
    expect([known.view.of(replicaKind), known.missing, known.count]).toEqual([[], [], 0]);
  });
});

describe('connections', () => {
  it('go through Sentinels', () => {
    expect(sentinelOptions('redis+sentinel://user:p%40ss@a.example:1,b.example,[::1]:3/registry')).toEqual({
      name: 'registry',
      username: 'user',
      password: 'p@ss',
      sentinels: [
        { host: 'a.example', port: 1 },
        { host: 'b.example', port: 26379 },
        { host: '::1', port: 3 },
      ],
    });
    for (const bad of [
      'redis+sentinel://a',
      'redis+sentinel:///m',
      'redis+sentinel://a:x/m',
      'redis+sentinel://a,/m',
    ])
      expect(() => sentinelOptions(bad), bad).toThrow(FirstackError);
  });

  it('of a Unix socket have its path, and a user', () => {
    expect(unixOptions('redis+unix:///run/redis.sock')).toEqual({ path: '/run/redis.sock' });
    expect(unixOptions('redis+unix://u:p%40s@/run/redis.sock')).toEqual({
      ...{ path: '/run/redis.sock', username: 'u', password: 'p@s' },
    });
    expect(shown('redis+unix://u:s/e:c@ret@/run/redis.sock')).toBe('redis+unix://u:***@/run/redis.sock');
    expect(() => unixOptions('redis+unix://u:secret@run/redis.sock')).toThrow(/^(?!.*secret)/);
  });

  it('are shown without their password, and fail with a code for the reason', () => {
    expect(shown('redis://u:secret@h:1')).toBe('redis://u:***@h:1');
    expect(shown('rediss://u:a:b/c@d@h:1')).toBe('rediss://u:***@h:1');
    expect(shown('redis://:secret@h')).toBe('redis://:***@h');
    expect(shown('redis+sentinel://u:secret@a:1,b:2/main')).toBe('redis+sentinel://u:***@a:1,b:2/main');
    for (const url of ['redis://h:1', 'redis+unix:///run/a:b@c.sock', 'file:/a:b@c'])
      expect(shown(url)).toBe(url);
    const code = (message: string, c?: string): string =>
      startError('redis://h', Object.assign(new Error(message), { code: c })).code;
    expect(code('WRONGPASS invalid')).toBe('FSA_REGISTRY_REFUSED');
    expect(code('unable to verify the first certificate')).toBe('FSA_REGISTRY_TLS');
    expect(code('x', 'ERR_TLS_CERT_ALTNAME_INVALID')).toBe('FSA_REGISTRY_TLS');
    expect(code('connect ECONNREFUSED', 'ECONNREFUSED')).toBe('FSA_REGISTRY_UNAVAILABLE');
  });
});

describe("this host's clock", () => {
  it("is compared with the registry's, and an offset beyond half an epoch is logged once", async () => {
    const said: string[] = [];
    const say = (...args: unknown[]): void => void said.push(String(args.at(-1)));
    const check = new ClockCheck({ warn: say, info: say } as never);
    const redis = { time: async () => [1000, 500_000] as [number, number] };
    const at = async (ms: number): Promise<number | undefined> => {
      await check.measure(redis as never, () => ms);
      return check.offsetMs;
    };
    expect(await at(1_000_500 + 32_000)).toBe(32_000);
    expect(said).toEqual([]);
    expect(await at(1_000_500 + 33_000)).toBe(33_000);
    await at(1_000_500 - 300_000);
    expect(said).toEqual([expect.stringContaining('clock is 33 s ahead of')]);
    expect(await at(1_000_500)).toBe(0);
    expect(said[1]).toBe('the clock is right again');
    expect(clockProblem(-300_000)).toContain('300 s behind');
    expect(clockProblem(undefined)).toBeUndefined();
  });
});

describe('the skimmer of the bench', () => {
  it('finds the ends of replies, in pieces of any size', () => {
    const stream = '*1\r\n*2\r\n$4\r\nname\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$2\r\nid\r\n$2\r\nr1\r\n';
    const big = `$70\r\n${'x'.repeat(70)}\r\n`;
    const wire = `+OK\r\n${stream}*3\r\n${big}$-1\r\n$0\r\n\r\n:7\r\n*-1\r\n*0\r\n`;
    const expected = [['+OK'], ['name', '1-0', 'id', 'r1'], ['', ''], [':7'], [], []];
    for (let size = 1; size <= wire.length; size++) {
      const replies: string[][] = [];
      const skimmer = new Skimmer((strings) => replies.push(strings));
      for (let at = 0; at < wire.length; at += size) skimmer.take(Buffer.from(wire.slice(at, at + size)));
      expect(replies, `in pieces of ${size}`).toEqual(expected);
    }
  });
});
