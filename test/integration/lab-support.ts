/** Laboratories for the tests: a name of this run's own, and down again whatever happens. */
import { Lab, type LabOptions } from '../../src/lab/lab.js';

let made = 0;

/** `t`, this process and a number: two runs at once do not meet. */
export function freshName(): string {
  return `t${process.pid}-${made++}`;
}

export async function withLab<T>(options: Partial<LabOptions>, body: (lab: Lab) => Promise<T>): Promise<T> {
  const lab = await Lab.create({ name: freshName(), seed: 1, ...options });
  try {
    return await body(lab);
  } finally {
    await lab.down();
  }
}
