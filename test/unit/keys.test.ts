import { chmodSync as chmod, readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  deriveGateway,
  gatewayKeys,
  gatewaySecret,
  type KeyFile,
  newMaster,
  probeKey,
  readKeyFile,
  writeKeyFile,
} from '../../src/keys.js';
import { GATEWAY_ID, KEY_ID, MASTER } from '../support/builder.js';
import { Files, problemsOf } from '../support/files.js';
import { gatewayKey } from '../support/naive.js';
import { keyWords } from '../support/world.js';

const files = new Files();
const MASTER_FILE: KeyFile = { kind: 'master', keys: [{ id: KEY_ID, secret: MASTER }] };
const yaml = (keys: string, kind = 'master'): string => `kind: ${kind}\nkeys: [${keys}]\n`;
const key = (id: number, secret = MASTER): string => `{id: ${id}, secret: '${secret}'}`;
const code = (call: () => unknown): string => problemsOf(call)[0].code;

describe('keys', () => {
  it("derive a gateway's key from the master key, as specified", () => {
    expect([...gatewaySecret(MASTER, GATEWAY_ID)]).toEqual(gatewayKey(MASTER, GATEWAY_ID));
    expect(gatewayKeys(MASTER_FILE, GATEWAY_ID)).toEqual([
      { id: KEY_ID, words: keyWords(gatewayKey(MASTER, GATEWAY_ID)) },
    ]);
  });

  it('differ for every gateway, and for probes', () => {
    const all = [1, 2, 65535].map((id) => String(gatewaySecret(MASTER, id).toString('hex')));
    expect(new Set(all).size).toBe(3);
    expect(keyWords([...gatewaySecret(MASTER, 1)])).not.toEqual([...probeKey(MASTER_FILE)]);
  });

  it('are new each time, with 128 bits', () => {
    const [a, b] = [newMaster(), newMaster()];
    expect(a.keys[0].secret).toMatch(/^[0-9a-f]{32}$/);
    expect(a.keys[0].secret).not.toBe(b.keys[0].secret);
  });

  it('may be two at a time, so that the master key can be changed', () => {
    const two = { ...MASTER_FILE, keys: [...MASTER_FILE.keys, { id: 4, secret: 'ab'.repeat(16) }] };
    expect(gatewayKeys(two, 1).map((k) => k.id)).toEqual([KEY_ID, 4]);
    expect(deriveGateway(two, 9)).toMatchObject({
      kind: 'gateway',
      gatewayId: 9,
      keys: [{ id: KEY_ID }, { id: 4 }],
    });
    expect(deriveGateway(two, 9).keys[1].secret).toBe(
      Buffer.from(gatewayKey('ab'.repeat(16), 9)).toString('hex'),
    );
  });
});

describe('a key file', () => {
  it('reads back as it was written, for its owner only, and is never overwritten', () => {
    const path = files.path();
    writeKeyFile(path, deriveGateway(MASTER_FILE, 5));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readKeyFile(path, 'gateway')).toEqual(deriveGateway(MASTER_FILE, 5));
    const before = readFileSync(path, 'utf8');
    expect(code(() => writeKeyFile(path, newMaster()))).toBe('FSA_KEY_INVALID');
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  it.each([0o640, 0o604, 0o644, 0o620])('of mode %o is refused', (mode) => {
    const path = files.write(yaml(key(0)));
    // Set with chmod, because of the umask.
    chmod(path, mode);
    expect(problemsOf(() => readKeyFile(path, 'master'))).toMatchObject([
      { code: 'FSA_KEY_INVALID', message: expect.stringContaining('chmod 600') },
    ]);
  });

  it.each([
    ['of the other kind', yaml(key(0), 'gateway'), 'FSA_KEY_INVALID'],
    ['with one id twice', yaml(`${key(1)}, ${key(1)}`), 'FSA_KEY_INVALID'],
    ['with three keys', yaml(`${key(1)}, ${key(2)}, ${key(3)}`), 'FSA_CONFIG_INVALID'],
    ['without keys', yaml(''), 'FSA_CONFIG_INVALID'],
    ['with a short secret', yaml(key(1, 'abcd')), 'FSA_CONFIG_VALUE'],
    ['with an id beyond 4 bits', yaml(key(16)), 'FSA_CONFIG_INVALID'],
    ['with something else', `${yaml(key(0))}note: x\n`, 'FSA_CONFIG_UNKNOWN_KEY'],
  ])('%s is refused', (_, text, expected) => {
    const path = files.write(text);
    expect(code(() => readKeyFile(path, 'master'))).toBe(expected);
  });

  it('must exist', () => {
    expect(code(() => readKeyFile(files.path(), 'master'))).toBe('FSA_CONFIG_UNREADABLE');
  });
});
