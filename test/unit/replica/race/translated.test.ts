import { describe, expect, it } from 'vitest';
import { isTranslated } from '../../../../replica/race/translated.js';

const isOurs = (text: string): boolean => isTranslated(text, new Set(['198.18.11.2']), new Set([80]));
const line = (state: string, daddr: string, dport: number, answering: string, from: number): string =>
  `ipv4     2 tcp      6 431999 ${state} src=192.0.2.7 dst=${daddr} sport=40000 dport=${dport} ` +
  `src=${answering} dst=192.0.2.7 sport=${from} dport=40000 [ASSURED] mark=0 zone=0 use=2`;

describe('a tracked connection', () => {
  it('counts when it is translated to another address or port', () => {
    expect(isOurs(line('ESTABLISHED', '198.18.11.2', 80, '172.17.0.2', 80))).toBe(true);
    expect(isOurs(line('SYN_RECV', '198.18.11.2', 80, '198.18.11.2', 8080))).toBe(true);
  });

  it('does not count when it has a socket here', () => {
    expect(isOurs(line('ESTABLISHED', '198.18.11.2', 80, '198.18.11.2', 80))).toBe(false);
  });

  it('does not count when it ends, or goes to another service', () => {
    expect(isOurs(line('TIME_WAIT', '198.18.11.2', 80, '172.17.0.2', 80))).toBe(false);
    expect(isOurs(line('ESTABLISHED', '198.18.11.2', 22, '172.17.0.2', 22))).toBe(false);
    expect(isOurs(line('ESTABLISHED', '198.18.11.9', 80, '172.17.0.2', 80))).toBe(false);
  });

  it('is read from any line, however odd', () => {
    for (const odd of [
      '',
      'ipv4',
      line('ESTABLISHED', '', 80, '', 80),
      'ipv6 10 tcp 6 1 ESTABLISHED src=::1',
    ])
      expect(isOurs(odd)).toBe(false);
  });
});
