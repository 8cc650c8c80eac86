import { describe, expect, it } from 'vitest';
import type { FlowAnswer } from '../../../../origin/routing/answer.js';
import { explainedText } from '../../../../origin/routing/ask.js';
import { ip, tcp, tunnel } from '../../../support/builder.js';
import { CLIENT, MEMBERS, OWN, SlrHarness, snapshot, UPPER, VIRTUAL } from '../../../support/slr.js';

const packet = (flags: string, port = 1000) => ip(CLIENT, VIRTUAL, tcp(port, 80, flags, { seq: 100 }));
const ask = (h: SlrHarness, port = 1000): FlowAnswer =>
  h.ask({ client: `${CLIENT}:${port}`, service: `${VIRTUAL}:80`, protocol: 'tcp' }) as FlowAnswer;

describe('a question about a flow', () => {
  it('is answered with where it goes, and by which rule', () => {
    const h = new SlrHarness();
    expect(ask(h)).toMatchObject({ isKnown: false, state: 'unknown' });
    const [sent] = h.send(packet('S'));
    expect(ask(h)).toEqual({
      ...{
        isKnown: true,
        state: 'opening',
        target: sent.dst,
        rule: 'chosen by its first packet',
        isPinned: false,
      },
      ...{ member: MEMBERS.indexOf(sent.dst as never), slotMember: MEMBERS.indexOf(sent.dst as never) },
      ...{ fromAbove: false, told: 0 },
    });
    h.load(snapshot([1 - MEMBERS.indexOf(sent.dst as never)]));
    expect(ask(h).slotMember).not.toBe(ask(h).member);
    h.send(packet('A'));
    expect(ask(h).state).toBe('open');
    h.send(packet('FA'));
    expect(ask(h).state).toBe('ended');
  });

  it('tells a guess, and one that was looked for', () => {
    const h = new SlrHarness();
    const [sent] = h.send(packet('A'));
    expect(ask(h).rule).toContain('guessed by its slot');
    h.send(tunnel(sent.dst, OWN, packet('A')));
    expect(ask(h).rule).toBe('looked for: 1 member gave it back');
  });

  it('tells that it came from a router above', () => {
    const h = new SlrHarness();
    h.send(tunnel(UPPER, OWN, packet('S')));
    expect(ask(h)).toMatchObject({ fromAbove: true, told: 1 });
  });

  it('about ends that are none is answered with nothing', () => {
    const h = new SlrHarness();
    expect(h.ask({ client: 'x', service: `${VIRTUAL}:80`, protocol: 'tcp' })).toBeUndefined();
  });
});

describe('its text', () => {
  it('says level, target, rule and slot', () => {
    const flow = {
      ...{ isKnown: true, state: 'open', member: 's1', target: '198.51.100.31', isPinned: true },
      ...{ rule: 'chosen by its first packet', slotMember: 's2', fromAbove: true, told: 3 },
    };
    expect(explainedText({ level: 'site', id: 't1', flow })).toBe(
      'site router t1: open; its packets go to 198.51.100.31 (s1): chosen by its first packet.\n' +
        'The kernel carries it. Its slot stands for s2 now.\n' +
        'It comes in a tunnel of a router above, which was told 3 times where it goes.',
    );
  });
});
