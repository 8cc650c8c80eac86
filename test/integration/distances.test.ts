// Distances of members from a table of this host's kernel.
import { expect, it } from 'vitest';
import { routesIn } from '../../origin/routing/route-distances.js';
import { bed, ip } from './kernel-bed.js';

bed('distances');

it('routes of a kernel table are read with their metrics; a table without routes has none', async () => {
  expect(await routesIn(7481)).toEqual([]);
  ip('route', 'add', '198.51.100.0/24', 'via', '172.31.0.2', 'table', '7481', 'metric', '30');
  ip('route', 'add', '198.51.101.7/32', 'via', '172.31.0.2', 'table', '7481');
  expect(await routesIn(7481)).toMatchObject([
    { dst: '198.51.101.7' },
    { dst: '198.51.100.0/24', metric: 30 },
  ]);
});
