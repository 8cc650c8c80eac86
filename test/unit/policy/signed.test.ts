// Signed policies: who may install what, and what a module may do to its host. The ten hostile ones are refused or contained.
import { type createPublicKey, generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import * as modules from '../../../src/lab/routed/wasm.js';
import { Sandbox } from '../../../src/policy/sandbox.js';
import { checkCode, type Policy, PolicyError, readPolicy, signPolicy } from '../../../src/policy/signed.js';

const key = (): { pem: string; open: ReturnType<typeof createPublicKey> } => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { pem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, open: publicKey };
};
const operator = key();
const NOW = Date.UTC(2026, 10, 27);
const policy = (code: Uint8Array, more: Partial<Policy> = {}): Policy => ({
  ...{ v: 1, name: 'near', version: 3, kind: 'cost', scope: ['web'] },
  ...{ notBefore: '2026-01-01T00:00:00Z', notAfter: '2027-01-01T00:00:00Z' },
  code: Buffer.from(code).toString('base64'),
  ...more,
});
const read = (text: string): Policy => readPolicy(text, operator.open, NOW);

describe('a signed policy', () => {
  it('is read as it was signed', () => {
    expect(read(signPolicy(policy(modules.SUM), operator.pem))).toMatchObject({ name: 'near', version: 3 });
    expect(read(signPolicy(policy(modules.MODEST), operator.pem)).name).toBe('near');
  });

  it.each([
    ['not signed', () => JSON.stringify(policy(modules.SUM)), 'it is not signed'],
    ['signed by another', () => signPolicy(policy(modules.SUM), key().pem), "is not the operator's"],
    [
      'changed after it was signed',
      () => signPolicy(policy(modules.SUM), operator.pem).replace('"version":3', '"version":4'),
      "is not the operator's",
    ],
    [
      'not valid any more',
      () => signPolicy(policy(modules.SUM, { notAfter: '2026-11-01T00:00:00Z' }), operator.pem),
      'it was valid until',
    ],
    [
      'not valid yet',
      () => signPolicy(policy(modules.SUM, { notBefore: '2026-12-01T00:00:00Z' }), operator.pem),
      'it is valid from',
    ],
    ['no JSON', () => 'near', 'it is no JSON'],
    ['of another form', () => '{"v":2}', 'no policy of version 1'],
    ['without code', () => signPolicy(policy(new Uint8Array(0)), operator.pem), 'no WebAssembly'],
    ['with imports', () => signPolicy(policy(modules.IMPORTING), operator.pem), 'it imports env.read'],
    ['without its function', () => signPolicy(policy(modules.OTHER), operator.pem), "no function 'cost'"],
    ['with four gigabytes', () => signPolicy(policy(modules.GREEDY), operator.pem), 'its memory may grow'],
    ['with no limit', () => signPolicy(policy(modules.UNBOUNDED), operator.pem), 'its memory may grow'],
  ])('that is %s is refused', (_, text, why) => {
    expect(() => read(text())).toThrow(PolicyError);
    expect(() => read(text())).toThrow(why);
  });

  it('of an aggregate needs its three functions', () => {
    expect(() => checkCode(modules.SUM, 'aggregate')).toThrow("no function 'begin'");
  });
});

describe('its module', () => {
  const boxes: Sandbox[] = [];
  const box = (code: Uint8Array, kind: 'cost' | 'aggregate' = 'cost'): Sandbox => {
    const made = new Sandbox(code, kind, 400);
    boxes.push(made);
    return made;
  };
  afterEach(() => {
    for (const b of boxes.splice(0)) b.stop();
  });
  const rows = [
    [0.25, 5, 1, 0, 0],
    [0.5, 10, 1, 0, 0],
  ];

  it('has a value for each member', async () => {
    const b = box(modules.SUM);
    expect(await b.call(rows)).toEqual([5.25, 10.5]);
    expect([b.problem, b.isOut]).toEqual(['', false]);
  });

  it('of an aggregate has one for all', async () => {
    // The sum is what its last member added: it keeps nothing else.
    const code = modules.wasm({
      begin: { parameters: 0, hasResult: false, code: [] },
      add: { parameters: 4, hasResult: false, code: [] },
      end: { parameters: 0, hasResult: true, code: [0x44, ...new Uint8Array(Float64Array.of(0.5).buffer)] },
    });
    checkCode(code, 'aggregate');
    expect(await box(code, 'aggregate').call([[0.1, 0, 1, 0]])).toEqual([0.5]);
  });

  it.each([
    ['an endless loop', modules.LOOP, 'no answer in 400 ms'],
    ['a trap', modules.TRAP, 'it trapped'],
    ['an endless recursion', modules.DEEP, 'it trapped'],
  ])('with %s has no value, and is not run again after three times', async (_, code, why) => {
    const b = box(code);
    for (let n = 0; n < 3; n++) expect(await b.call(rows)).toEqual([]);
    expect([b.problem, b.isOut]).toEqual([why, true]);
    expect(await b.call(rows)).toEqual([]);
  });

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY])(
    'may say %d: who asked does not believe it',
    async (x) => {
      expect(await box(modules.constant(x)).call([rows[0]])).toEqual([x]);
    },
  );
});
