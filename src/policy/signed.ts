/**
 * Signed policies: the operator's own cost or aggregate as a WebAssembly module without imports, with a name, a version, a
 * validity and a scope. One JSON object per file; the signature is Ed25519 over all that stands in it.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** The part of WebAssembly's interface that is used here; the compiler knows it from browsers only. */
interface Described {
  module: string;
  name: string;
  kind: string;
}
declare const WebAssembly: {
  Module: {
    new (code: Uint8Array): object;
    imports(module: object): Described[];
    exports(module: object): Described[];
  };
};

export const KINDS = ['cost', 'aggregate'] as const;
export type PolicyKind = (typeof KINDS)[number];

export interface Policy {
  v: 1;
  name: string;
  version: number;
  kind: PolicyKind;
  /** ISO 8601. */
  notBefore: string;
  notAfter: string;
  /** Names of virtual hosts, or `*`. */
  scope: string[];
  /** WebAssembly, in base64. */
  code: string;
}

export class PolicyError extends Error {}

/** The functions that a module must export. */
export const EXPORTS: Readonly<Record<PolicyKind, readonly string[]>> = {
  cost: ['cost'],
  aggregate: ['begin', 'add', 'end'],
};

const MOST_BYTES = 1 << 20;
/** Pages of 64 KiB that a module's memory may have. */
const MOST_PAGES = 256;
const MOST_ELEMENTS = 10_000;
const NAME = /^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/;

const signedBytes = (p: Policy): Buffer =>
  Buffer.from(JSON.stringify([p.v, p.name, p.version, p.kind, p.notBefore, p.notAfter, p.scope, p.code]));

/** @param key a private key in PEM */
export function signPolicy(policy: Policy, key: string): string {
  const signature = sign(null, signedBytes(policy), createPrivateKey(key)).toString('base64');
  return `${JSON.stringify({ ...policy, signature })}\n`;
}

export const readKey = (path: string): KeyObject => createPublicKey(readFileSync(path));

/**
 * @param key the operator's public key
 * @throws PolicyError with what is wrong
 */
export function readPolicy(text: string, key: KeyObject, nowMs: number): Policy {
  if (text.length > 2 * MOST_BYTES) throw new PolicyError('it is larger than a policy may be');
  let policy: Policy & { signature?: unknown };
  try {
    policy = JSON.parse(text) as typeof policy;
  } catch {
    throw new PolicyError('it is no JSON');
  }
  checkForm(policy);
  if (typeof policy.signature !== 'string') throw new PolicyError('it is not signed');
  if (!verify(null, signedBytes(policy), key, Buffer.from(policy.signature, 'base64')))
    throw new PolicyError("its signature is not the operator's");
  if (nowMs < Date.parse(policy.notBefore)) throw new PolicyError(`it is valid from ${policy.notBefore} on`);
  if (nowMs > Date.parse(policy.notAfter)) throw new PolicyError(`it was valid until ${policy.notAfter}`);
  checkCode(codeOf(policy), policy.kind);
  return policy;
}

export const codeOf = (policy: Policy): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(Buffer.from(policy.code, 'base64'));

function checkForm(p: Policy): void {
  const isText = (x: unknown): x is string => typeof x === 'string';
  if (typeof p !== 'object' || p === null || p.v !== 1) throw new PolicyError('it is no policy of version 1');
  if (!isText(p.name) || !NAME.test(p.name)) throw new PolicyError('its name is none');
  if (!Number.isSafeInteger(p.version) || p.version < 1)
    throw new PolicyError('its version is no whole number from 1 on');
  if (!KINDS.includes(p.kind)) throw new PolicyError(`its kind is none of ${KINDS.join(', ')}`);
  for (const time of [p.notBefore, p.notAfter])
    if (!isText(time) || Number.isNaN(Date.parse(time)))
      throw new PolicyError('its validity is no pair of times');
  if (!Array.isArray(p.scope) || p.scope.length === 0 || !p.scope.every(isText))
    throw new PolicyError('its scope names no virtual host');
  if (!isText(p.code)) throw new PolicyError('it has no code');
}

/** @throws PolicyError for code that is no module, asks for anything from outside, or may grow without bound */
export function checkCode(code: Uint8Array<ArrayBuffer>, kind: PolicyKind): void {
  if (code.length > MOST_BYTES) throw new PolicyError('its code is larger than 1 MiB');
  let module: object;
  try {
    module = new WebAssembly.Module(code);
  } catch (error) {
    throw new PolicyError(`its code is no WebAssembly: ${(error as Error).message}`);
  }
  const imports = WebAssembly.Module.imports(module);
  if (imports.length > 0) throw new PolicyError(`it imports ${imports[0].module}.${imports[0].name}`);
  const exported = WebAssembly.Module.exports(module).filter((e) => e.kind === 'function');
  for (const name of EXPORTS[kind])
    if (!exported.some((e) => e.name === name)) throw new PolicyError(`it exports no function '${name}'`);
  for (const { what, max } of limitsOf(code)) {
    const most = what === 'memory' ? MOST_PAGES : MOST_ELEMENTS;
    if (max === undefined || max > most) throw new PolicyError(`its ${what} may grow beyond ${most}`);
  }
}

const TABLES = 4;
const MEMORIES = 5;

/** The limits of a valid module's tables and memories, from its binary form. */
function limitsOf(code: Uint8Array): { what: 'memory' | 'table'; max: number | undefined }[] {
  const found: ReturnType<typeof limitsOf> = [];
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = code[at++];
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) return value;
    }
  };
  while (at < code.length) {
    const section = code[at++];
    const size = number();
    const end = at + size;
    if (section === TABLES || section === MEMORIES)
      for (let left = number(); left > 0; left--) {
        if (section === TABLES) at++;
        const flags = code[at++];
        number();
        found.push({
          what: section === TABLES ? 'table' : 'memory',
          max: (flags & 1) === 0 ? undefined : number(),
        });
      }
    at = end;
  }
  return found;
}
