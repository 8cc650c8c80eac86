// What the roles of service-level routing agree on: certificates' names, messages, sequence numbers.
import type { PeerCertificate } from 'node:tls';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Sequence } from '../../../origin/routing/sequence.js';
import { authorityOf } from '../../../src/routing/certificate.js';
import { byFamily, readDownward, readUpward, sourceFields } from '../../../src/routing/messages.js';
import { prefixOf } from '../../../src/routing/virtual.js';

const certificate = (subjectaltname?: string): PeerCertificate =>
  ({ subjectaltname, valid_to: 'Nov 27 12:00:00 2027 GMT' }) as PeerCertificate;

describe('a certificate', () => {
  it('says who its holder is, and what it may do', () => {
    const uri =
      'URI:firstack:routing?id=t1&level=site&subnet=203.0.113.0/24&target=10.1.0.0/16&target=10.2.0.1/32';
    expect(authorityOf(certificate(`DNS:t1, ${uri}`))).toEqual({
      ...{ id: 't1', level: 'site', until: Date.UTC(2027, 10, 27, 12) },
      subnets: [prefixOf('203.0.113.0/24')],
      targets: [prefixOf('10.1.0.0/16'), prefixOf('10.2.0.1/32')],
    });
  });
  it('may name prefixes of IPv6', () => {
    const uri =
      'URI:firstack:routing?id=t1&level=site&subnet=2001:db8:80::/64&target=10.1.0.0/16&target=2001:db8:51::1/128';
    expect(authorityOf(certificate(uri))).toMatchObject({
      subnets: [prefixOf('2001:db8:80::/64')],
      targets: [prefixOf('10.1.0.0/16'), prefixOf('2001:db8:51::1/128')],
    });
  });
  it.each([
    [undefined, 'has no name firstack:routing'],
    ['DNS:t1', 'has no name firstack:routing'],
    ['URI:firstack:routing?level=site', 'names no id'],
    ['URI:firstack:routing?id=T 1&level=site', 'names no id'],
    ['URI:firstack:routing?id=t1&level=moon', 'names no level'],
    ['URI:firstack:routing?id=t1&level=site&subnet=x', 'a prefix that is none'],
  ])('%j says nothing', (names, why) => expect(authorityOf(certificate(names))).toContain(why));
});

describe('a message', () => {
  const state = { subnet: '203.0.113.80/32', load: 0.5, available: true, servers: 2 };
  it('is read as it was written, and more of a later version is let be', () => {
    const said = { type: 'state', n: 3, subnets: [{ ...state, more: 1 }] };
    expect(readUpward(JSON.stringify(said))).toEqual(said);
    const ack = { type: 'ack', n: 3 };
    expect(readDownward(JSON.stringify(ack))).toEqual(ack);
  });
  it('has what is of IPv6 in fields of its own, which a former version does not read', () => {
    const state6 = { ...state, subnet: '2001:db8:80::80/128' };
    const said = { type: 'state', n: 3, subnets: [state], subnets6: [state6] };
    expect(readUpward(JSON.stringify(said))).toEqual(said);
    expect(byFamily([state6, state], (s) => s.subnet)).toEqual({ v4: [state], v6: [state6] });
    expect(sourceFields(['10.0.0.1/32', '2001:db8:51::1/128'])).toEqual({
      ...{ sources: ['10.0.0.1/32'], sources6: ['2001:db8:51::1/128'] },
    });
    expect(sourceFields(['10.0.0.1/32'])).toEqual({ sources: ['10.0.0.1/32'] });
    const hello = { type: 'hello', v: 1, id: 's1', level: 'server', address: '10.0.0.1' };
    for (const more of [{}, { address6: '2001:db8:51::1' }])
      expect(readUpward(JSON.stringify({ ...hello, ...more }))).toEqual({ ...hello, ...more });
    const welcome = { ...hello, type: 'welcome', level: 'site', intervalMs: 500, sources: [] };
    for (const more of [{}, { address6: '2001:db8:51::1', sources6: ['2001:db8:51::/64'] }])
      expect(readDownward(JSON.stringify({ ...welcome, ...more }))).toEqual({ ...welcome, ...more });
  });
  it.each([
    '',
    'null',
    '[]',
    '{"type":"__proto__"}',
    '{"type":"state","n":-1,"subnets":[]}',
    JSON.stringify({ type: 'state', n: 1, subnets: [{ ...state, load: 2 }] }),
    JSON.stringify({ type: 'state', n: 1, subnets: [{ ...state, load: null }] }),
    JSON.stringify({ type: 'state', n: 1, subnets: [{ ...state, subnet: '203.0.113.80/33' }] }),
    JSON.stringify({ type: 'state', n: 1, subnets: [{ ...state, subnet: '2001:db8:80::80/128' }] }),
    JSON.stringify({ type: 'state', n: 1, subnets: [], subnets6: [state] }),
    JSON.stringify({ type: 'hello', v: 1, id: 's1', level: 'server', address: '10.0.0.1', address6: '::1' }),
    JSON.stringify({ type: 'hello', v: 1, id: 'x y', level: 'site', address: '10.0.0.1' }),
    JSON.stringify({ type: 'welcome', v: 1 }),
  ])('%s is none', (line) => expect(readUpward(line)).toBeUndefined());
});

describe('sequence numbers', () => {
  it('are taken once each, out of order too', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60 })), fc.integer(), (numbers, offset) => {
        const s = new Sequence();
        s.admits(offset | 0);
        const seen = new Set<number>();
        return numbers.every((n) => {
          const isNew = !seen.has(n);
          seen.add(n);
          return s.admits((offset + n) | 0) === isNew;
        });
      }),
    );
  });
  it('that are too old to tell are refused, and 2^32 is followed by 0', () => {
    const s = new Sequence();
    expect([s.admits(100), s.admits(37), s.admits(36)]).toEqual([true, true, false]);
    const far = new Sequence();
    expect([2 ** 31 - 1, -(2 ** 31), -1, 0, 1, -1].map((n) => far.admits(n | 0))).toEqual([
      ...[true, true, true, true, true, false],
    ]);
  });
});
