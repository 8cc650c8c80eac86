import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { FlowEntry } from '../../../src/flow/numbers.js';
import { CLOSING, ESTABLISHED, OPENING, UNDECIDED } from '../../../src/flow/states.js';
import { SynFlows } from '../../../src/flow/syn-flows.js';

/** Clients of two prefixes. */
const client = (n: number): number => (n < 100 ? 0xc0000200 + n : 0xc6336400 + (n - 100)) | 0;

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('open' as const), client: fc.nat(150), port: fc.nat(60) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('confirm' as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('close' as const), pick: fc.nat(1000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('end' as const), pick: fc.nat(1000) }) },
);

describe('the pool of half-open connections', () => {
  it('gives the oldest half-open entry away, as a plain list does', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const flows = new SynFlows(64, [1, 2]);
        const pool = flows.halfOpen;
        // In the order of arrival.
        let list: FlowEntry[] = [];
        const isHalfOpen = (e: FlowEntry): boolean =>
          flows.state[e] === UNDECIDED || flows.state[e] === OPENING;
        for (const s of steps) {
          const inUse = Array.from({ length: 64 }, (_, e) => e as FlowEntry).filter(
            (e) => flows.state[e] !== 0,
          );
          if (s.kind === 'open') {
            flows.keyV4(client(s.client), 1000 + s.port, 1, 80);
            if (flows.find() >= 0) continue;
            if (flows.size === 64) {
              const victim = pool.victim();
              const oldest = list.find(isHalfOpen) ?? -1;
              expect(victim).toBe(oldest);
              if (victim < 0) continue;
              flows.remove(victim);
              list = list.filter((e) => e !== victim);
            }
            const e = flows.insert();
            pool.add(e);
            list.push(e);
          } else if (inUse.length > 0) {
            const e = inUse[s.pick % inUse.length];
            if (s.kind === 'confirm') flows.state[e] = ESTABLISHED;
            else if (s.kind === 'close') flows.state[e] = CLOSING;
            else {
              flows.remove(e);
              list = list.filter((x) => x !== e);
            }
          }
          expect(pool.count).toBeLessThanOrEqual(flows.size);
        }
      }),
    );
  });

  it('gives one source an eighth of the pool, and one prefix half of it', () => {
    const flows = new SynFlows(4096, [1, 2]);
    const pool = flows.halfOpen;
    expect(pool.most).toBe(1024);
    const open = (address: number, port: number): void => {
      flows.keyV4(address, port, 1, 80);
      if (pool.isFull()) flows.remove(pool.victim());
      pool.add(flows.insert());
    };
    const other = client(150);
    for (let n = 0; n < 10; n++) open(other, n);
    flows.keyV4(client(1), 1, 1, 80);
    for (let n = 0; n < 128; n++) {
      expect(pool.isSourceFull()).toBe(false);
      open(client(1), n);
      flows.keyV4(client(1), 1, 1, 80);
    }
    expect(pool.isSourceFull()).toBe(true);
    // The other prefix keeps its ten, however many of this one come.
    for (let n = 0; n < 5000; n++) open(client(2 + (n % 90)), 200 + n);
    const kept = Array.from({ length: 4096 }, (_, e) => e).filter(
      (e) => flows.state[e] !== 0 && flows.keyWord(e, 3) === other,
    );
    expect(kept).toHaveLength(10);
    expect(flows.size).toBe(512 + 10);
  });

  it('is left by those that were confirmed, so that one source may have any number of them', () => {
    const flows = new SynFlows(4096, [1, 2]);
    const pool = flows.halfOpen;
    for (let n = 0; n < 3000; n++) {
      flows.keyV4(client(1), 1000 + n, 1, 80);
      expect(pool.isSourceFull(), String(n)).toBe(false);
      const e = flows.insert();
      pool.add(e);
      flows.state[e] = ESTABLISHED;
    }
    expect(pool.count).toBeLessThan(100);
  });

  it('keeps what the kernel has seen confirmed, whether this process knows the answer or not', () => {
    for (const state of [UNDECIDED, OPENING]) {
      const flows = new SynFlows(512, [1, 2]);
      const pool = flows.halfOpen;
      const entries = [1, 2, 3].map((port) => {
        flows.keyV4(client(1), port, 1, 80);
        const e = flows.insert();
        pool.add(e);
        flows.state[e] = state;
        return e;
      });
      pool.isConfirmed = (e) => e === entries[0];
      expect(pool.victim()).toBe(entries[1]);
      expect(pool.count).toBe(2);
    }
  });

  it('asks the kernel a bounded number of times a tick, however many SYNs of a full source come', () => {
    const flows = new SynFlows(4096, [1, 2]);
    const pool = flows.halfOpen;
    let asked = 0;
    pool.isConfirmed = () => {
      asked++;
      return false;
    };
    for (let n = 0; n < 128; n++) {
      flows.keyV4(client(1), n, 1, 80);
      const e = flows.insert();
      pool.add(e);
      flows.state[e] = OPENING;
    }
    for (let n = 0; n < 2000; n++) expect(pool.isSourceFull()).toBe(true);
    expect(asked).toBe(512);
    pool.tick();
    for (let n = 0; n < 2000; n++) pool.isSourceBusy();
    // It is known to be busy, without a question.
    expect(asked).toBe(512);
  });

  it('lets a full pool ask more than one machine fifty times a tick', () => {
    const flows = new SynFlows(1024, [1, 2]);
    const pool = flows.halfOpen;
    const open = (n: number): void => {
      flows.keyV4(client(n % 50), 1000 + n, 1, 80);
      const e = flows.insert();
      flows.state[e] = UNDECIDED;
      pool.add(e);
    };
    const allowed = (): number => Array.from({ length: 100 }, () => pool.mayRace()).filter(Boolean).length;
    for (let n = 0; n < 100; n++) open(n);
    expect([pool.isFull(), allowed()]).toEqual([false, 100]);
    for (let n = 100; n < 128; n++) open(n);
    expect([pool.isFull(), allowed(), allowed()]).toEqual([true, 50, 0]);
    pool.tick();
    expect(allowed()).toBe(50);
  });

  it('remembers for ten seconds which source had more than its part, and takes from it first', () => {
    const flows = new SynFlows(4096, [1, 2]);
    const pool = flows.halfOpen;
    const open = (address: number, port: number): FlowEntry => {
      flows.keyV4(address, port, 1, 80);
      const e = flows.insert();
      pool.add(e);
      flows.state[e] = OPENING;
      return e;
    };
    const honest = open(client(2), 1);
    const flood = Array.from({ length: 129 }, (_, n) => open(client(1), n));
    flows.keyV4(client(2), 2, 1, 80);
    expect(pool.victim()).toBe(flood[0]);
    for (const e of flood) flows.remove(e);
    expect(pool.victim()).toBe(honest);
    const isBusy = (address: number): boolean => {
      flows.keyV4(address, 9, 1, 80);
      return pool.isSourceBusy();
    };
    expect([isBusy(client(1)), isBusy(client(2))]).toEqual([true, false]);
    for (let n = 0; n < 99; n++) pool.tick();
    expect(isBusy(client(1))).toBe(true);
    pool.tick();
    expect(isBusy(client(1))).toBe(false);
  });

  it('finds an entry whose connection has ended', () => {
    const flows = new SynFlows(64, [1, 2]);
    for (let n = 0; n < 64; n++) {
      flows.keyV4(client(n), 1, 1, 80);
      flows.state[flows.insert()] = ESTABLISHED;
    }
    expect(flows.halfOpen.ended()).toBe(-1);
    flows.state[17] = CLOSING;
    expect(flows.halfOpen.ended()).toBe(17);
  });
});
