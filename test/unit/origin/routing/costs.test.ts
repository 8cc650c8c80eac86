import { describe, expect, it } from 'vitest';
import { type CostOptions, Costs, preferencesOf } from '../../../../origin/routing/costs.js';
import type { LoadedPolicy } from '../../../../src/policy/loaded.js';
import type { Member } from '../../../../src/routing/hello-server.js';
import type { SubnetState } from '../../../../src/routing/messages.js';
import { parseAggregate, parseCost } from '../../../../src/routing/policies.js';
import type { VirtualSubnet } from '../../../../src/routing/virtual.js';

const HOST: VirtualSubnet = { name: 'web', subnet: '203.0.113.80/32', protocols: ['tcp'], ports: [] };
const state = (load: number, more: Partial<SubnetState> = {}): SubnetState => ({
  ...{ subnet: '203.0.113.80/32', load, available: true, servers: 1 },
  ...more,
});
const member = (id: string, ...subnets: SubnetState[]): Member => ({
  ...{ id, address: '198.51.100.1', subnets, key: Buffer.alloc(16), since: 0, heardAt: 0 },
  authority: { id, level: 'server', subnets: [], targets: [], until: 0 },
});
const options = (more: Partial<CostOptions> = {}): CostOptions => ({
  ...{
    cost: parseCost('load'),
    aggregate: parseAggregate('mean'),
    selection: 'weights',
    distances: {},
    weights: {},
    keepsStandby: false,
  },
  ...more,
});
async function weights(costs: Costs, ...members: Member[]): Promise<Record<string, number>> {
  await costs.observe([HOST], members);
  return Object.fromEntries(costs.standings(HOST, members).map((s) => [s.id, s.weight]));
}

describe('costs', () => {
  it('give members of equal cost equal weights, and of more servers more', async () => {
    expect(await weights(new Costs(options()), member('a', state(0.3)), member('b', state(0.3)))).toEqual({
      a: 1,
      b: 1,
    });
    const site = member('b', state(0.3, { servers: 4 }));
    expect(await weights(new Costs(options()), member('a', state(0.3)), site)).toEqual({ a: 1, b: 4 });
  });

  it('go by the weight that a member says, and by the factor that its router has for it', async () => {
    const costs = new Costs(options({ weights: { b: 0.5 } }));
    const members = [member('a', state(0, { weight: 3 })), member('b', state(0, { weight: 8 }))];
    expect(await weights(costs, ...members)).toEqual({ a: 3, b: 4 });
    expect(costs.aggregate(HOST, members).weight).toBe(7);
  });

  it('lower the weight as the cost grows, but never to nothing', async () => {
    const w = await weights(
      new Costs(options()),
      member('a', state(0.1)),
      member('b', state(0.6)),
      member('c', state(1)),
    );
    expect(w.a).toBe(1);
    expect(w.b).toBe(0.25);
    expect(w.c).toBe(1 / 64);
  });

  it('follow a change over some intervals', async () => {
    const costs = new Costs(options());
    const before = await weights(costs, member('a', state(0)), member('b', state(0)));
    const soon = await weights(costs, member('a', state(0)), member('b', state(0.8)));
    let late = soon;
    for (let n = 0; n < 4; n++) late = await weights(costs, member('a', state(0)), member('b', state(0.8)));
    expect(before.b).toBe(1);
    expect(soon.b).toBeLessThan(1);
    expect(late.b).toBeLessThan(soon.b);
  });

  it('give all to the least cost only where that was asked for', async () => {
    const costs = new Costs(options({ selection: 'least' }));
    expect(await weights(costs, member('a', state(0.3)), member('b', state(0.2)))).toEqual({ a: 0, b: 1 });
  });

  it('leave connections spread evenly, except for who is out of line, where that was asked for', async () => {
    const costs = new Costs(options({ cost: parseCost('metrics.serviceMs'), selection: 'outliers' }));
    const of = (...ms: number[]): Promise<Record<string, number>> =>
      weights(costs, ...ms.map((serviceMs, n) => member('abcd'[n], state(0, { metrics: { serviceMs } }))));
    expect(await of(0, 0, 80, 0)).toEqual({ a: 1, b: 1, c: 1, d: 1 });
    expect(await of(100, 140, 80, 120)).toEqual({ a: 1, b: 1, c: 1, d: 1 });
    for (let n = 0; n < 5; n++) await of(100, 140, 400, 120);
    expect(await of(100, 140, 400, 120)).toEqual({ a: 1, b: 1, c: 1 / 256, d: 1 });
    for (let n = 0; n < 9; n++) await of(400, 560, 400, 480);
    expect(await of(400, 560, 400, 480)).toEqual({ a: 1, b: 1, c: 1, d: 1 });
  });

  it('leave out who is not available, who has no cost, and a standby while others are there', async () => {
    const costs = new Costs(options({ cost: parseCost('metrics.queue') }));
    const queue = { metrics: { queue: 0 } };
    const members = [
      member('a', state(0, queue)),
      member('b', state(0, { available: false, ...queue })),
      member('c', state(0)),
      member('d', state(0, { standby: true, ...queue })),
    ];
    await costs.observe([HOST], members);
    expect(costs.standings(HOST, members).map((s) => [s.id, s.leftOut])).toEqual([
      ['a', ''],
      ['b', 'it says that it is not available'],
      ['c', 'the policy gives it no cost'],
      ['d', 'standby: others are available'],
    ]);
    expect(await weights(costs, members[1], members[3])).toEqual({ b: 0, d: 1 });
  });

  it.each([
    ['by itself', false],
    ["by an operator's word", true],
  ])('let a standby that took over give back %s', async (_, keepsStandby) => {
    const costs = new Costs(options({ keepsStandby }));
    const [main, gone] = [member('a', state(0)), member('a', state(0, { available: false }))];
    const standby = member('b', state(0, { standby: true }));
    expect(await weights(costs, main, standby)).toEqual({ a: 1, b: 0 });
    expect(await weights(costs, gone, standby)).toEqual({ a: 0, b: 1 });
    const after = keepsStandby ? { a: 0, b: 1 } : { a: 1, b: 0 };
    expect(await weights(costs, main, standby)).toEqual(after);
    if (keepsStandby)
      expect(costs.standings(HOST, [main, standby])[0].leftOut).toBe(
        'the standby keeps this until it is given back',
      );
    expect(costs.giveBack()).toEqual(keepsStandby ? [HOST.name] : []);
    expect(await weights(costs, main, standby)).toEqual({ a: 1, b: 0 });
    // A standby that is gone keeps nothing.
    await weights(costs, gone, standby);
    await weights(costs, main);
    expect(await weights(costs, main, standby)).toEqual({ a: 1, b: 0 });
  });

  it('keep the last cost where the policy gives none', async () => {
    const costs = new Costs(options({ cost: parseCost('1 / metrics.rate') }));
    const at = (rate: number): Member => member('a', state(0, { metrics: { rate } }));
    await weights(costs, at(2));
    expect(await weights(costs, at(0))).toEqual({ a: 1 });
    expect(costs.standings(HOST, [at(0)])[0].cost).toBe(0.5);
  });

  it('go by the narrowest subnet that a member states for the host', async () => {
    const wide = state(0.9, { subnet: '203.0.113.0/24' });
    const costs = new Costs(options());
    const members = [member('a', wide, state(0.1)), member('b', state(0.1, { subnet: '203.0.113.81/32' }))];
    await costs.observe([HOST], members);
    expect(costs.standings(HOST, members).map((s) => [s.id, s.load])).toEqual([['a', 0.1]]);
  });

  it('put the members together for the level above', async () => {
    const costs = new Costs(options());
    const members = [member('a', state(0.2, { servers: 3 })), member('b', state(0.6))];
    expect(costs.aggregate(HOST, members)).toEqual({
      ...{ subnet: HOST.subnet, available: true, servers: 4, weight: 4 },
      load: expect.closeTo(0.3),
    });
    expect(costs.aggregate(HOST, [])).toMatchObject({ available: false, load: 1, servers: 0 });
  });

  it('are the same at every router: the same slots follow', async () => {
    const members = [member('a', state(0.2)), member('b', state(0.4))];
    const of = async (list: Member[]): Promise<unknown> => {
      const costs = new Costs(options());
      await costs.observe([HOST], list);
      return preferencesOf(costs.standings(HOST, list));
    };
    expect(await of(members)).toEqual(await of([...members].reverse()));
  });

  it('are those of a signed module for the hosts of its scope; what it gives none keeps its last', async () => {
    let values = [0.1, 0.6];
    const module = {
      covers: (name: string) => name === 'web',
      call: async () => values,
    } as unknown as LoadedPolicy;
    const costs = new Costs(options(), undefined, { cost: module });
    const members = [member('a', state(0.9)), member('b', state(0))];
    expect(await weights(costs, ...members)).toEqual({ a: 1, b: 0.25 });
    for (const bad of [[], [Number.NaN, -1], [Number.POSITIVE_INFINITY, Number.NaN]]) {
      values = bad;
      expect(await weights(costs, ...members)).toEqual({ a: 1, b: 0.25 });
    }
    const other = { ...HOST, name: 'mail' };
    await costs.observe([other], members);
    expect(costs.standings(other, members).map((s) => s.cost)).toEqual([0.9, 0]);
  });
});
