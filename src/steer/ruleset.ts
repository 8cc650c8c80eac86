/**
 * Reads the host's own nftables rules (`nft -j list ruleset`) as far as they decide whether a role's packets would
 * pass. Each match is true, false or unknown for a leg; a filter with an unknown match is not reported as dropping.
 */
import { overlaps, type Prefix, parsePrefix } from '../wire/address.js';

/** One crossing of the forward hook. A role's packets are untracked TCP. */
export interface Leg {
  iif: string;
  oif: string;
}

type Json = Record<string, unknown>;
interface Chain {
  family: string;
  table: string;
  name: string;
  type?: string;
  hook?: string;
  policy?: string;
}
interface Rule {
  family: string;
  table: string;
  chain: string;
  expr: Json[];
}

export interface Ruleset {
  chains: Chain[];
  rules: Rule[];
}

export function parseRuleset(json: string): Ruleset {
  const { nftables } = JSON.parse(json) as { nftables: Json[] };
  return {
    chains: nftables.flatMap((x) => (x.chain === undefined ? [] : [x.chain as Chain])),
    rules: nftables.flatMap((x) => (x.rule === undefined ? [] : [x.rule as Rule])),
  };
}

const carriesIpv4 = (c: Chain): boolean => c.family === 'inet' || c.family === 'ip';

/** The forward chains that would drop a packet on this leg, as `table chain: reason`. */
export function forwardDrops(ruleset: Ruleset, leg: Leg): string[] {
  return ruleset.chains
    .filter((c) => carriesIpv4(c) && c.hook === 'forward' && c.type === 'filter')
    .flatMap((c) => {
      const verdict =
        walk(ruleset, c, c.name, leg, 0) ?? (c.policy === 'drop' ? 'its policy is drop' : 'accept');
      return verdict === 'accept' ? [] : [`${c.family} ${c.table} ${c.name}: ${verdict}`];
    });
}

/**
 * The postrouting rules that would rewrite the source of a packet that leaves by `oif`.
 * @param clients the prefixes of the packets' sources; without them any source counts
 */
export function masquerades(ruleset: Ruleset, oif: string, clients?: readonly Prefix[]): string[] {
  const out: string[] = [];
  for (const c of ruleset.chains.filter(
    (x) => carriesIpv4(x) && x.hook === 'postrouting' && x.type === 'nat',
  ))
    collect(c, c.name, 0);
  return [...new Set(out)];

  function collect(base: Chain, name: string, depth: number): void {
    for (const r of ruleset.rules) {
      // Several tables have chains of the same name. Masquerading in a table of family ip6 does not concern IPv4.
      if (depth >= 16 || r.chain !== name || r.table !== base.table || r.family !== base.family) continue;
      if (r.expr.some((e) => matches(e, { iif: '', oif }) === false || isOfOthers(e, clients))) continue;
      for (const e of r.expr) {
        if ('masquerade' in e || 'snat' in e) out.push(`${r.family} ${r.table} ${r.chain}`);
        const next = (e.jump ?? e.goto) as { target: string } | undefined;
        if (next !== undefined) collect(base, next.target, depth + 1);
      }
    }
  }
}

/** Whether a match on the source address excludes all of the clients (Docker masquerades its own networks only). */
function isOfOthers(e: Json, clients: readonly Prefix[] | undefined): boolean {
  const match = e.match as { op: string; left: Json; right: unknown } | undefined;
  const payload = match?.left.payload as { protocol: string; field: string } | undefined;
  if (clients === undefined || payload?.protocol !== 'ip' || payload.field !== 'saddr') return false;
  if (match?.op !== '==' && match?.op !== 'in') return false;
  const right = (match.right as { set?: unknown[] })?.set ?? [match.right];
  return right.every((value) => {
    const prefix = (value as { prefix?: { addr: string; len: number } })?.prefix;
    const text = prefix === undefined ? `${String(value)}/32` : `${prefix.addr}/${prefix.len}`;
    const theirs = parsePrefix(text);
    // A match that cannot be interpreted (a range, a named set) may include a client.
    return theirs !== undefined && !clients.some((ours) => overlaps(ours, theirs));
  });
}

/** 'accept', a reason to drop, or undefined when the chain decides nothing. */
function walk(ruleset: Ruleset, base: Chain, name: string, leg: Leg, depth: number): string | undefined {
  if (depth > 16) return undefined;
  for (const r of ruleset.rules) {
    if (r.chain !== name || r.table !== base.table || r.family !== base.family) continue;
    const held = r.expr.map((e) => matches(e, leg));
    if (held.includes(false)) continue;
    const certain = !held.includes(undefined);
    for (const e of r.expr) {
      if ('accept' in e && certain) return 'accept';
      if (('drop' in e || 'reject' in e) && certain)
        return `a rule in ${name} drops everything from ${leg.iif} to ${leg.oif}`;
      if ('return' in e && certain) return undefined;
      const next = (e.jump ?? e.goto) as { target: string } | undefined;
      // A jump that is certain to be taken counts with the verdict that its chain is certain to give.
      if (next !== undefined && certain) {
        const verdict = walk(ruleset, base, next.target, leg, depth + 1);
        if (verdict !== undefined || 'goto' in e) return verdict;
      }
      const mapped = verdictMap(e);
      if (mapped !== undefined) return mapped;
    }
  }
  return undefined;
}

/** The verdict of `ct state vmap { … }` for an untracked packet. */
function verdictMap(e: Json): string | undefined {
  const vmap = e.vmap as { key?: { ct?: { key: string } }; data?: { set?: [unknown, Json][] } } | undefined;
  if (vmap?.key?.ct?.key !== 'state') return undefined;
  const entry = vmap.data?.set?.find(([key]) => key === 'untracked');
  if (entry === undefined) return undefined;
  return 'accept' in entry[1] ? 'accept' : 'drop' in entry[1] ? 'untracked packets are dropped' : undefined;
}

const STATEMENTS = [
  'accept',
  'drop',
  'reject',
  'return',
  'jump',
  'goto',
  'counter',
  'log',
  'masquerade',
  'snat',
  'vmap',
];

/** Whether an expression is true for a role's packet on this leg; statements are always true. */
function matches(e: Json, leg: Leg): boolean | undefined {
  const match = e.match as { op: string; left: Json; right: unknown } | undefined;
  if (match === undefined) return STATEMENTS.some((s) => s in e) ? true : undefined;
  const meta = (match.left.meta as { key: string } | undefined)?.key;
  const ct = (match.left.ct as { key: string } | undefined)?.key;
  const values = ((match.right as { set?: unknown[] })?.set ?? [match.right]).flat().map(String);
  let held: boolean | undefined;
  if (meta === 'iifname' || meta === 'iif')
    held = leg.iif === '' ? undefined : values.some((v) => nameMatches(v, leg.iif));
  else if (meta === 'oifname' || meta === 'oif') held = values.some((v) => nameMatches(v, leg.oif));
  else if (meta === 'l4proto') held = values.some((v) => v === 'tcp' || v === '6');
  else if (meta === 'nfproto') held = values.includes('ipv4');
  else if (ct === 'state') held = values.includes('untracked');
  else return undefined;
  return held === undefined ? undefined : match.op === '!=' ? !held : held;
}

function nameMatches(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}
