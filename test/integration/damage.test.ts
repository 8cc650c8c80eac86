// Every known way to damage a running fleet: it is said once, with its cause, healed, and no connection is lost beyond
// the window. The order comes from a seed, which the names of the tests tell.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenScene, openScene, shuffled } from '../../src/lab/damage/bench.js';
import { SCENES } from '../../src/lab/damage/damages.js';

const seed = Number(process.env.FIRSTACK_SEED ?? Math.floor(Math.random() * 2 ** 31));

describe.each(SCENES)(`$name, seed ${seed}`, (scene) => {
  let open: OpenScene;
  beforeAll(async () => {
    open = await openScene(scene, seed);
  });
  afterAll(async () => {
    await open?.close();
  });

  it.each(shuffled(scene.damages, seed))('$id', async (damage) => {
    const { met, why, message } = await open.play(damage);
    expect(why, message).toBe('');
    expect(met).toBe('yes');
  });
});
