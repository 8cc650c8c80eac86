import { describe, expect, it } from 'vitest';
import { type Asked, Silence } from '../../../../gateway/race/silence.js';
import type { CandidateNumber } from '../../../../src/flow/numbers.js';

const [origin, r1, r2] = [0, 1, 2] as CandidateNumber[];
const counters = (o: number, a: [number, number], b: [number, number]): Map<CandidateNumber, Asked> =>
  new Map([
    [origin, { asked: o, answered: o }],
    [r1, { asked: a[0], answered: a[1] }],
    [r2, { asked: b[0], answered: b[1] }],
  ]);

/** Looks twice a second while each machine is asked `perLook` times; r2 answers as told. */
function run(silence: Silence, looks: number, from: number, answers: (look: number) => boolean, perLook = 5) {
  const said: string[] = [];
  let answered = 0;
  for (let n = 0; n < looks; n++) {
    const total = (n + 1) * perLook;
    if (answers(n)) answered += perLook;
    for (const s of silence.look(counters(total, [total, total], [total, answered]), from + n * 500))
      said.push(`${s.what} ${s.candidate} at ${n * 500}`);
  }
  return said;
}

describe('a machine that answers no SYN', () => {
  it('is said to be silent once within five seconds, and once to answer again', () => {
    expect(run(new Silence(), 40, 0, (n) => n < 10 || n > 30)).toEqual([
      'silent 2 at 7000',
      'answers-again 2 at 15500',
    ]);
  });

  it('is not silent when nobody else answers either, or while it is not asked', () => {
    const silence = new Silence();
    for (let n = 0; n < 50; n++) {
      const none = new Map([
        [r1, { asked: n * 5, answered: 0 }],
        [r2, { asked: n * 5, answered: 0 }],
      ]);
      expect(silence.look(none, n * 500)).toEqual([]);
    }
    const idle = new Silence();
    for (let n = 0; n < 50; n++) expect(idle.look(counters(n, [n * 5, n * 5], [0, 0]), n * 500)).toEqual([]);
  });

  it('that lost a few is not silent', () => {
    expect(run(new Silence(), 60, 0, (n) => n % 3 === 0)).toEqual([]);
  });

  it('whose number means another machine begins anew', () => {
    const silence = new Silence();
    run(silence, 20, 0, () => false);
    expect(silence.isSilent(r2)).toBe(true);
    expect(silence.look(counters(200, [200, 200], [0, 0]), 20_000)).toEqual([]);
    expect(silence.isSilent(r2)).toBe(false);
  });
});
