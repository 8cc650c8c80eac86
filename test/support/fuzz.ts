/**
 * How long fuzz tests go on, and from which seed: in the suite always the same; `npm run fuzz` takes many times as many
 * rounds from a new seed, which it prints (`FIRSTACK_FUZZ`, `FIRSTACK_FUZZ_SEED`).
 */
export const MORE = Number(process.env.FIRSTACK_FUZZ ?? 1);
export const SEED = Number(process.env.FIRSTACK_FUZZ_SEED ?? 0);
