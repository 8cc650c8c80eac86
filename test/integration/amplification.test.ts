// `firstack bench attacks --only amplification`: what leaves a machine for each packet, and each byte, that comes.
import { describe, expect, it } from 'vitest';
import { KINDS, playAmplification } from '../../src/lab/attacks/amplification.js';

describe('what leaves a machine', () => {
  it('is no more than asking each candidate once, in packets and in bytes', async () => {
    const figures = await playAmplification('', 1);
    expect(figures.map((f) => f.id)).toEqual(KINDS.flatMap(({ id }) => [id, `${id}:bytes`]));
    const beyond = figures.filter((f) => f.met !== 'yes');
    expect(beyond).toEqual([]);
    // What is genuine is answered: else nothing was measured.
    const measured = (id: string): number => figures.find((f) => f.id === id)!.value;
    expect(measured('amplification.client')).toBeGreaterThan(1);
    for (const part of ['replica', 'origin', 'probe'])
      expect(measured(`amplification.gateway.${part}`), part).toBeGreaterThan(0.9);
  });
});
