// Distances of members from a table of this host's kernel.
import { expect, it } from 'vitest';
import { routesIn } from '../../origin/routing/route-distances.js';
import { bed, ip } from './kernel-bed.js';

bed('distances');

it('routes of a kernel table are read with their metrics; a table without routes has none', async () => {
  expect(await routesIn(7482)).toEqual([]);
  ip('route', 'replace', '198.51.100.0/24', 'via', '172.31.0.2', 'table', '7481', 'metric', '30');
  ip('route', 'replace', '198.51.101.7/32', 'via', '172.31.0.2', 'table', '7481');
  const read = (await routesIn(7481)).map(({ dst, metric }) => [dst, metric]);
  expect(new Map(read as [string, number][])).toEqual(
    new Map<string, number | undefined>([
      ['198.51.101.7', undefined],
      ['198.51.100.0/24', 30],
    ]),
  );
});
