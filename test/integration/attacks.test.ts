// `firstack bench attacks`, two of its floods: a client's neighbours are served as ever, by the nearest machine.
import { describe, expect, it } from 'vitest';
import { FLOODS, playFlood } from '../../src/lab/attacks/flood.js';

describe('a flood of SYNs of ten times the table, at 20,000 a second', () => {
  it.each(FLOODS.filter(({ id }) => id === 'flood.one' || id === 'flood.many.origin-dead'))(
    '$id',
    async (flood) => {
      const figures = await playFlood(flood, 1);
      const short = figures
        .filter((f) => f.met === 'no')
        .map((f) => `${f.id}: ${f.value}, ${f.target}: ${f.what}`);
      expect(short).toEqual([]);
      expect(figures.map((f) => f.id)).toEqual(
        ['', ':nearest', ':memory', ':normal-s'].map((part) => `${flood.id}${part}`),
      );
    },
  );
});
