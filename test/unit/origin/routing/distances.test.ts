import { expect, it } from 'vitest';
import { distancesOf, roundTripsOf } from '../../../../origin/routing/distances.js';

const members = [
  { id: 't1', address: '198.51.100.7' },
  { id: 't2', address: '198.51.101.7' },
  { id: 't3', address: '203.0.113.7' },
];

it('the narrowest route to a member tells its distance', () => {
  const routes = [
    { dst: '198.51.100.0/22', metric: 30 },
    { dst: '198.51.100.7', metric: 5 },
    { dst: '198.51.101.0/24' },
    { dst: '2001:db8::/32', metric: 7 },
  ];
  expect(distancesOf(routes, members)).toEqual({ t1: 5, t2: 0 });
  expect(distancesOf([...routes, { dst: 'default', metric: 99 }], members)).toEqual({ t1: 5, t2: 0, t3: 99 });
});

it('a session tells it once its round trip is known', () => {
  expect(roundTripsOf([{ id: 't1', rttMs: 12.5 }, { id: 't2' }])).toEqual({ t1: 12.5 });
});
