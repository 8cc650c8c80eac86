import { describe, expect, it } from 'vitest';
import { reasons as gateway } from '../../../gateway/race/reasons.js';
import { reasons as origin } from '../../../origin/race/reasons.js';
import { reasons as replica } from '../../../replica/race/reasons.js';
import { ManualClock } from '../../../src/device/clock.js';
import { type Device, DeviceError } from '../../../src/device/device.js';
import { HoldQueue } from '../../../src/device/hold-queue.js';
import { memoryPair } from '../../../src/device/memory.js';
import { BATCH, Batch, EXTRAS, type Stage } from '../../../src/pipeline/batch.js';
import { Runner } from '../../../src/pipeline/pipeline.js';
import { COMMON, common, defineReasons, MAX_REASONS } from '../../../src/pipeline/reasons.js';
import { offset } from '../../support/numbers.js';

const packet = (n: number): Uint8Array =>
  Uint8Array.from([...new Array<number>(10).fill(0), n & 255, n >> 8]);

function runner(stage: Stage, device?: Device) {
  const [inside, outside] = memoryPair();
  const clock = new ManualClock();
  const batch = new Batch(clock, new Float64Array(MAX_REASONS));
  const hold = new HoldQueue([{ slotBytes: 64, slots: 4 }]);
  const run = new Runner(device ?? inside, batch, hold, [stage], clock);
  const out = (): number[] => outside.queue.splice(0).map((f) => f[10] + 256 * f[11]);
  return { inside, batch, hold, run, clock, out };
}

describe('the runner', () => {
  it('passes packets that no stage decided, and counts them', () => {
    const { inside, run, batch, out } = runner(() => {});
    inside.queue.push(packet(1), packet(2));
    expect(run.run()).toBe(2);
    expect(out()).toEqual([1, 2]);
    expect(batch.counters[common.passDefault]).toBe(2);
  });

  it('reads a limited number of batches, so that timers are not starved', () => {
    const sizes: number[] = [];
    const { inside, run, out } = runner((b) => void sizes.push(b.count));
    for (let n = 0; n < BATCH * 9; n++) inside.queue.push(packet(n));
    expect(run.run()).toBe(BATCH * 8);
    expect(sizes).toEqual(new Array(8).fill(BATCH));
    expect(out()).toEqual(Array.from({ length: BATCH * 8 }, (_, n) => n));
    expect(run.run()).toBe(BATCH);
    expect(run.run()).toBe(0);
  });

  it('writes extra packets behind the batch, and flushes them when there is no room', () => {
    const many = EXTRAS + 10;
    const { inside, run, batch, out } = runner((b) => {
      for (let n = 0; n < many; n++) {
        const k = b.emit(2, common.release);
        b.view.setUint16(b.at[k], 1000 + n, true);
      }
      b.drop(0, common.dropMalformed);
    });
    inside.queue.push(packet(1));
    run.run();
    expect(out()).toEqual(Array.from({ length: many }, (_, n) => 1000 + n));
    expect(batch.counters[common.release]).toBe(many);
  });

  it('writes a packet from the offset to which its stages moved it', () => {
    const { inside, run, out } = runner((b) => {
      b.at[0] = offset(b.at[0] - 20);
      b.length[0] = 2;
      b.view.setUint16(b.at[0], 77, true);
    });
    inside.queue.push(packet(5));
    run.run();
    expect(out()).toEqual([77]);
    // The next packet is read at the original place again.
    inside.queue.push(packet(6));
    run.run();
    expect(out()).toEqual([77]);
  });

  it('releases packets that are due, in order, and returns when the next one is', () => {
    const { run, hold, clock, batch, out } = runner(() => {});
    const at = clock.nowUs;
    hold.push(packet(3), 10, 2, at + 30, 0);
    hold.push(packet(1), 10, 2, at + 10, 0);
    hold.push(packet(2), 10, 2, at + 20, 0);
    expect(run.release()).toBe(at + 10);
    clock.nowUs = at + 25;
    expect(run.release()).toBe(at + 30);
    expect(out()).toEqual([1, 2]);
    clock.nowUs = at + 30;
    expect(run.release()).toBe(0);
    expect(out()).toEqual([3]);
    expect(batch.counters[common.release]).toBe(3);
  });

  /** A runner, and how long each of its reads waits when so many packets come. */
  const waiting = () => {
    const waited: number[] = [];
    const given: number[] = [];
    const device: Device = {
      name: 'waiting',
      readBatch: (_arena, _at, lengths, _limit, _slot, waitUs) => {
        waited.push(waitUs ?? 0);
        lengths[0] = 2;
        return given.shift() ?? 0;
      },
      writeBatch: (_arena, _at, _lengths, count) => count,
      onReadable: () => {},
      release: () => {},
    };
    const made = runner(() => {}, device);
    const reads = (...packets: number[]): number[] => {
      given.push(...packets);
      made.run.run();
      expect(given).toEqual([]);
      return waited.splice(0);
    };
    return { ...made, reads };
  };

  it('polls for more packets for a moment before it ends', () => {
    const { reads } = waiting();
    const wait = reads(1, 1, 0)[1];
    expect(wait).toBeGreaterThan(0);
    // In vain: the next chance is skipped, and the one after that is used.
    expect(reads(1)).toEqual([0]);
    expect(reads(1, 1, 1, 0)).toEqual([0, wait, wait, wait]);
    expect(reads(1)).toEqual([0]);
    // After a full batch it reads the next one at once.
    expect(reads(BATCH, 1, 0)).toEqual([0, 0, wait]);
  });

  it('does not poll when a held packet is due before the end of the wait', () => {
    const wait = waiting().reads(1, 1, 0)[1];
    for (const dueIn of [wait, wait - 1]) {
      const { reads, hold, clock } = waiting();
      hold.push(packet(1), 10, 2, clock.nowUs + dueIn, 0);
      expect(dueIn < wait ? reads(1) : reads(1, 0)).toEqual(dueIn < wait ? [0] : [0, wait]);
    }
  });

  it('counts packets that the device refuses, and ends when the device no longer exists', () => {
    let gone = false;
    const broken: Device = {
      name: 'broken',
      readBatch: (_arena, _at, lengths) => {
        if (gone) throw new DeviceError('broken', 19);
        gone = true;
        lengths[0] = 2;
        return 1;
      },
      writeBatch: (_arena, _at, _lengths, count) => count - 1,
      onReadable: () => {},
      release: () => {},
    };
    const { run, batch } = runner(() => {}, broken);
    expect(run.run()).toBe(-1);
    expect(batch.counters[common.writeError]).toBe(1);
    expect(batch.counters[common.readError]).toBe(1);
  });
});

describe('reasons', () => {
  it('that are common have the same number in every role', () => {
    for (const role of [gateway, origin, replica])
      for (const key of Object.keys(COMMON) as (keyof typeof COMMON)[]) expect(role[key]).toBe(common[key]);
  });

  it.each([
    ['gateway', gateway],
    ['origin', origin],
    ['replica', replica],
  ])('of the %s have unique names that begin with a verdict, and fit into shared memory', (_, role) => {
    expect(new Set(role.names).size).toBe(role.names.length);
    expect(role.names.length).toBeLessThanOrEqual(MAX_REASONS);
    for (const name of role.names)
      expect(name).toMatch(
        /^(pass|drop|hold|joined|emit|kernel|queued|fired|cancelled|release|error|tag|late|limit|evict)\.[a-z0-9-]+$/,
      );
  });

  it('cannot be changed', () => {
    const own = defineReasons({ passMine: 'pass.mine' });
    expect(own.names[own.passMine]).toBe('pass.mine');
    expect(() => {
      (own as { passMine: number }).passMine = 0;
    }).toThrow(TypeError);
  });
});
