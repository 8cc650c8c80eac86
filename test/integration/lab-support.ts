/** Laboratories for the tests: with a name of this run, and removed at the end whatever happens. */
import { Lab, type LabOptions } from '../../src/lab/lab.js';

let made = 0;

/** `t`, this process and a number, so that two runs at the same time do not collide. */
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
