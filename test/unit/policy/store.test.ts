import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Events } from '../../../src/events/events.js';
import { constant, LOOP } from '../../../src/lab/routed/wasm.js';
import { LoadedPolicy } from '../../../src/policy/loaded.js';
import { type Policy, signPolicy } from '../../../src/policy/signed.js';
import { PolicyStore } from '../../../src/policy/store.js';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const NOW = Date.UTC(2026, 10, 27);
function signed(version: number, code = constant(version), more: Partial<Policy> = {}): string {
  return signPolicy(
    {
      ...{ v: 1, name: 'near', version, kind: 'cost', scope: ['web'] },
      ...{ notBefore: '2026-01-01T00:00:00Z', notAfter: '2027-01-01T00:00:00Z' },
      code: Buffer.from(code).toString('base64'),
      ...more,
    },
    privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  );
}

let directory: string;
let store: PolicyStore;
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/policies-`);
  store = new PolicyStore(directory);
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('the policies of a host', () => {
  it('are installed in the order of their versions, and rolled back one by one', () => {
    for (const v of [1, 2, 5]) store.install(signed(v), publicKey, NOW);
    expect(store.list()).toEqual([{ name: 'near', versions: [1, 2, 5], current: 5 }]);
    expect(() => store.install(signed(5), publicKey, NOW)).toThrow('is not newer than 5');
    expect(() => store.install(signed(3), publicKey, NOW)).toThrow('is not newer than 5');
    expect([store.rollback('near'), store.rollback('near')]).toEqual([2, 1]);
    expect(() => store.rollback('near')).toThrow('there is no version of near before 1');
    expect(readFileSync(`${directory}/near/current`, 'utf8')).toBe(signed(1));
    // A version that was rolled back is not installed again: a newer one is.
    expect(() => store.install(signed(2), publicKey, NOW)).toThrow('is not newer');
    store.install(signed(6), publicKey, NOW);
    expect(store.list()[0].current).toBe(6);
  });

  it('are none before the first', () => {
    expect(new PolicyStore(`${directory}/none`).list()).toEqual([]);
    expect(() => store.rollback('near')).toThrow('there is no version');
  });
});

describe('a policy in force', () => {
  const said: string[] = [];
  const events = new Events('t', { info: () => {}, warn: () => {}, error: () => {} }, null);
  const kept = events.say.bind(events);
  events.say = (...a) => {
    said.push(a[3]);
    return kept(...a);
  };
  let loaded: LoadedPolicy;
  const load = (): LoadedPolicy =>
    new LoadedPolicy(`${directory}/near/current`, 'cost', publicKey, 500, events);
  beforeEach(() => {
    said.length = 0;
  });
  afterEach(() => loaded.stop());

  it('is taken over when it changes, and a wrong one changes nothing', async () => {
    store.install(signed(1), publicKey, NOW);
    loaded = load();
    loaded.look(NOW);
    expect(await loaded.call([[0, 0, 0, 0, 0]])).toEqual([1]);
    store.install(signed(2), publicKey, NOW);
    loaded.look(NOW);
    expect(await loaded.call([[0, 0, 0, 0, 0]])).toEqual([2]);
    writeFileSync(`${directory}/near/2.policy`, signed(2).replace('"version":2', '"version":9'));
    utimesSync(`${directory}/near/2.policy`, 5, 5);
    loaded.look(NOW);
    loaded.look(NOW);
    expect(await loaded.call([[0, 0, 0, 0, 0]])).toEqual([2]);
    expect(said).toEqual([
      'version 1 of near is in force',
      'version 2 of near is in force',
      expect.stringContaining("is refused: its signature is not the operator's"),
    ]);
  });

  it('covers the virtual hosts of its scope, until it expires', () => {
    store.install(signed(1), publicKey, NOW);
    loaded = load();
    loaded.look(NOW);
    expect([loaded.covers('web'), loaded.covers('mail')]).toEqual([true, false]);
    loaded.look(Date.UTC(2027, 1, 1));
    expect(loaded.covers('web')).toBe(false);
    expect(said.at(-1)).toContain('it is out of force');
  });

  it('that does not answer has no value, and is said once', async () => {
    store.install(signed(1, LOOP), publicKey, NOW);
    loaded = load();
    loaded.look(NOW);
    for (let n = 0; n < 4; n++) expect(await loaded.call([[0, 0, 0, 0, 0]])).toEqual([]);
    expect(said.slice(1)).toEqual([
      'near: no answer in 500 ms',
      'near: no answer in 500 ms; it is not run any more',
    ]);
  });
});
