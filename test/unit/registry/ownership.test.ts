import { describe, expect, it } from 'vitest';
import { OWNER_TTL_MS, Ownership, ownToken } from '../../../src/registry/ownership.js';

/** One key of Redis, with the options of SET that ownership uses. */
class OneKey {
  value: string | null = null;
  error = '';
  readonly asked: unknown[][] = [];
  async set(...args: unknown[]): Promise<string | null> {
    this.asked.push(args);
    if (this.error !== '') throw new Error(this.error);
    const before = this.value;
    if (!args.includes('NX') || before === null) this.value = args[1] as string;
    return before;
  }
  async del(): Promise<void> {
    this.value = null;
  }
}
let now = 0;
const claim = (key: OneKey, token: string) => {
  const ownership = new Ownership(key as never, 'replica:r2', token, () => now);
  const renew = ownership.renew.bind(ownership);
  // A heartbeat a second.
  ownership.renew = () => {
    now += 1000;
    return renew();
  };
  return ownership;
};

describe('ownership', () => {
  it('is claimed, renewed with the life of a record, and given back', async () => {
    const key = new OneKey();
    const ours = claim(key, 'a 1');
    expect(ours.holds).toBe(false);
    expect(await ours.renew()).toBe('ours');
    expect(await ours.renew()).toBe('ours');
    expect(ours.holds).toBe(true);
    expect(key.asked[0]).toEqual(['firstack:v1:owner:replica:r2', 'a 1 1', 'PX', OWNER_TTL_MS, 'NX', 'GET']);
    // Every fifth heartbeat renews it.
    for (let n = 0; n < 7; n++) await ours.renew();
    expect(key.asked).toHaveLength(2);
    expect(key.asked[1]).not.toContain('NX');
    await ours.end();
    expect(key.value).toBeNull();
  });

  it('is refused as soon as another holder renews its key, and never overwritten', async () => {
    const key = new OneKey();
    key.value = 'b 2 10';
    const ours = claim(key, 'a 1');
    for (let n = 0; n < 4; n++) expect(await ours.renew()).toBe('waits');
    key.value = 'b 2 15';
    expect(await ours.renew()).toBe('taken');
    expect([key.value, ours.other, ours.holds]).toEqual(['b 2 15', 'b 2 15', false]);
    await ours.end();
    expect(key.value).toBe('b 2 15');
  });

  it('is taken over from a machine that is gone, after a little more than a renewal', async () => {
    const key = new OneKey();
    key.value = 'b 2 10';
    const ours = claim(key, 'a 1');
    let looks = 1;
    while ((await ours.renew()) === 'waits') looks++;
    expect(looks).toBeGreaterThan(5);
    expect(looks).toBeLessThan(10);
    expect([ours.holds, ours.other]).toEqual([true, '']);
    expect(key.value).toMatch(/^a 1 /);
  });

  it('is had at once by a later process of the same instance', async () => {
    const key = new OneKey();
    await claim(key, 'a 1').renew();
    const later = claim(key, 'a 1');
    expect(await later.renew()).toBe('ours');
    expect([later.holds, later.other]).toEqual([true, '']);
  });

  it('of two holders stays with the one that has renewed for longer', async () => {
    const key = new OneKey();
    const ours = claim(key, 'a 1');
    for (let n = 0; n < 12; n++) await ours.renew();
    key.value = 'b 2 1';
    for (let n = 0; n < 5; n++) expect(await ours.renew()).toBe('ours');
    expect(ours.other).toBe('b 2 1');
    expect(key.value).toMatch(/^a 1 /);
    key.value = 'b 2 99';
    let answer = 'ours';
    for (let n = 0; n < 6 && answer === 'ours'; n++) answer = await ours.renew();
    expect(answer).toBe('taken');
    expect(ours.holds).toBe(false);
    await ours.end();
  });

  it('is done without where the access rules refuse the key, and fails where Redis does', async () => {
    const key = new OneKey();
    key.error = 'NOPERM no permissions';
    const ours = claim(key, 'a 1');
    expect(await ours.renew()).toBe('ours');
    expect([ours.isPossible, ours.holds]).toEqual([false, true]);
    key.error = 'Command timed out';
    await expect(claim(key, 'a 1').renew()).rejects.toThrow('timed out');
  });

  it('has one token per instance and boot', () => {
    expect(ownToken('r2')).toBe(ownToken('r2'));
    expect(ownToken('r2')).not.toBe(ownToken('r3'));
    expect(ownToken('r2')).toMatch(/^\S+ [0-9a-f]{16}$/);
  });
});
