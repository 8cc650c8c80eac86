import { expect, it } from 'vitest';
import { drawing } from '../../../../gateway/race/proximity-drawing.js';

const far = Array.from({ length: 300 }, (_, n) => ({ id: `m${n}`, rttMs: 20 + n, wins: 0 }));

it('shows every machine by its round trip, and the names of those that win', () => {
  const svg = drawing('web', [
    ...far,
    { id: 'near<1>', rttMs: 3, wins: 90 },
    { id: 'second', rttMs: 4, wins: 10 },
  ]);
  expect(svg.match(/<circle/g)).toHaveLength(302);
  expect(svg).toContain('302 machines by round trip, 100 connections');
  expect(svg).toContain('near&#60;1&#62;');
  expect(svg).toContain('>second</text>');
  expect(svg).not.toContain('>m7</text>');
  // Nearer is further to the left, and a larger share is higher.
  const mark = (r: string): number[] =>
    [...new RegExp(`<circle cx="([\\d.]+)" cy="([\\d.]+)" r="${r}"`).exec(svg)!].slice(1).map(Number);
  const [first, second] = [mark('8.7'), mark('4.9')];
  expect(first[0]).toBeLessThan(second[0]);
  expect(first[1]).toBeLessThan(second[1]);
});

it('is a picture also where nothing was measured, or no connection came', () => {
  expect(drawing('web', [])).toContain('0 machines');
  expect(drawing('web', far)).toContain('0 connections');
  expect(drawing('web', [{ id: 'a', rttMs: 0, wins: 0 }])).not.toContain('NaN');
});
