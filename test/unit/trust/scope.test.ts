import { describe, expect, it } from 'vitest';
import type { Credential, Scope } from '../../../src/trust/credential.js';
import { coversAddresses, coversHolder, coversNames } from '../../../src/trust/scope.js';

const by = (may: Scope, sub = 'replica:r1'): Credential => ({
  ...{ jti: '0'.repeat(16), sub, nbf: 0, exp: 1, may },
  ...{ sign: '', exchange: '' },
});

describe('a credential covers', () => {
  it('the records of its holder only', () => {
    expect(coversHolder(by({}), 'replica', 'r1')).toBe('');
    expect(coversHolder(by({}), 'replica', 'r2')).toBe('it belongs to replica:r2');
    expect(coversHolder(by({}), 'origin', 'r1')).toBe('it belongs to origin:r1');
    expect(coversHolder(by({}, 'gateway:7'), 'gateway', 7)).toBe('');
  });

  it('the names in its list, all with *, and none without the list', () => {
    expect(coversNames(by({ services: ['web'] }), 'services', ['web'])).toBe('');
    expect(coversNames(by({ services: ['web'] }), 'services', ['web', 'api'])).toMatch(/services api$/);
    expect(coversNames(by({ services: ['*'] }), 'services', ['web', 'api'])).toBe('');
    expect(coversNames(by({}), 'services', ['web'])).not.toBe('');
    expect(coversNames(by({ sites: ['web'] }), 'services', ['web'])).not.toBe('');
  });

  it.each([
    ['198.18.1.0/24', '198.18.1.7', true],
    ['198.18.1.0/24', '198.18.2.7', false],
    ['192.0.2.0/24', '192.0.2.128/25', true],
    ['192.0.2.128/25', '192.0.2.0/24', false],
    ['0.0.0.0/0', '192.0.2.0/24', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '2001:db8::1', true],
    ['2001:db8:1::/48', '2001:db8:1:2::/64', true],
    ['2001:db8:1::/48', '2001:db8:2::1', false],
    ['2001:db8:1::/48', '192.0.2.1', false],
  ])('with %s: %s %s', (prefix, text, isCovered) => {
    const why = coversAddresses(by({ addresses: [prefix] }), 'addresses', [undefined, text]);
    expect(why === '').toBe(isCovered);
  });
});
