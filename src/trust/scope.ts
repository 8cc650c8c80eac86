/** Whether a credential covers what a record names. Each function returns what it does not cover; '' where it does. */
import { overlaps, type Prefix, parse, parsePrefix } from '../wire/address.js';
import { type Credential, type Holder, type Scope, subjectOf } from './credential.js';

/** Whose record it is. */
export function coversHolder({ sub }: Credential, role: Holder, id: string | number): string {
  const needed = subjectOf(role, id);
  return sub === needed ? '' : `it belongs to ${needed}`;
}

export function coversNames(
  { may }: Credential,
  list: 'services' | 'sites',
  names: readonly string[],
): string {
  const may_ = may[list] ?? [];
  const other = may_.includes('*') ? undefined : names.find((name) => !may_.includes(name));
  return other === undefined ? '' : `its credential does not cover ${list} ${other}`;
}

type Prefixes = 'addresses' | 'servicePrefixes' | 'prefixes';

/** @param texts addresses, or prefixes as ADDRESS/BITS */
export function coversAddresses(
  { may }: Credential,
  list: Prefixes,
  texts: readonly (string | undefined)[],
): string {
  const covered = parsed(may, list);
  for (const text of texts) {
    if (text === undefined) continue;
    const wanted = text.includes('/') ? parsePrefix(text) : wholeOf(text);
    const isCovered = covered.some(
      (p) => wanted !== undefined && p.bits <= wanted.bits && overlaps(p, wanted),
    );
    if (!isCovered) return `its credential does not cover ${list} ${text}`;
  }
  return '';
}

const wholeOf = (text: string): Prefix | undefined => {
  const address = parse(text);
  return address && { address, bits: 128 };
};

const memory = new WeakMap<Scope, Partial<Record<Prefixes, Prefix[]>>>();

function parsed(may: Scope, list: Prefixes): Prefix[] {
  let lists = memory.get(may);
  if (lists === undefined) {
    lists = {};
    memory.set(may, lists);
  }
  lists[list] ??= (may[list] ?? []).flatMap((text) => parsePrefix(text) ?? []);
  return lists[list];
}
