import { describe, expect, it } from 'vitest';
import { compare, describe as shown } from '../../../../gateway/race/top.js';

const machine = (id: string, n: number) => ({
  ...{ service: 'web', port: 80, id, state: 'live' },
  ...{
    asked: 10 * n,
    answered: 9 * n,
    won: 4 * n,
    requested: 3 * n,
    firstBytes: 2 * n,
    firstByteSumMs: 50 * n,
  },
  ...{ silent: n, noFirstByte: n, reset: 0 },
});
const look = (n: number, ids: string[]) => ({
  instance: 'gw1',
  machines: ids.map((id) => machine(id, n)),
  counters: { 'pass.won-by-replica': 100 * n, 'drop.loser': 20 * n, 'emit.reset': 7 * n },
  fastpath: { flows: 5, 'out.packets': 1000 * n, 'in.packets': 500 * n },
  flows: 8,
});

describe('top', () => {
  it('shows what happened between two looks', () => {
    const t = compare(look(10, ['r1']), look(20, ['r1']), 2);
    expect(t).toMatchObject({ instance: 'gw1', flows: 8, pinned: 5, packets: 600, kernelPackets: 7500 });
    expect(t.machines[0]).toMatchObject({
      service: 'web:80',
      machine: 'r1',
      asked: 50,
      won: 20,
      requested: 15,
    });
    expect(t.machines[0]).toMatchObject({ firstByteMs: 25, silent: 10, noFirstByte: 10, reset: 0 });
  });

  it('counts a machine that is new, and a role that was started again, from nothing', () => {
    const t = compare(look(10, ['r1']), look(2, ['r1', 'r2']), 1);
    expect(t.machines.map((m) => [m.machine, m.won, m.firstByteMs])).toEqual([
      ['r1', 8, 25],
      ['r2', 8, 25],
    ]);
  });

  it('has the machine that wins most first, and says what the kernel carries', () => {
    const now = look(2, ['r1', 'r2']);
    now.machines[1].won = 100;
    const text = shown(compare(look(1, ['r1', 'r2']), now, 1));
    expect(text).toMatch(/^gw1: 8 flows, 5 of them in the kernel; 120 packets\/s here, 1500 packets\/s in/);
    expect(text.split('\n')[2]).toMatch(/^web:80 +r2 +live/);
  });
});
