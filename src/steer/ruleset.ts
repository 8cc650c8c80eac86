/**
 * Reads the host's own nftables rules (`nft -j list ruleset`) as far as they decide whether a role's packets would
 * pass. Each match is true, false or unknown for a leg; a filter with an unknown match is not reported as dropping.
 */
import { overlaps, type Prefix, parsePrefix } from '../wire/address.js';

/** One crossing of the forward hook. A role's packets are untracked TCP. */
export interface Leg {
  iif: string;
  oif: string;
  /** Whether packets of others pass it too: then only untracked ones are to be let through. */
  isShared?: boolean;
  /** Packets of IPv6; without it of IPv4. */
  isV6?: boolean;
}

/** The legs of packets of both families. */
export const inBothFamilies = (legs: readonly Leg[]): Leg[] => [
  ...legs,
  ...legs.map((l) => ({ ...l, isV6: true })),
];

export type Json = Record<string, unknown>;
export interface Chain {
  family: string;
  table: string;
  name: string;
  type?: string;
  hook?: string;
  policy?: string;
}
export interface Rule {
  family: string;
  table: string;
  chain: string;
  /** The kernel's number of the rule; absent for iptables-legacy. */
  handle?: number;
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

/** A forward chain that would drop a packet. */
export interface Drop {
  /** `FAMILY TABLE CHAIN` */
  chain: string;
  reason: string;
  /** The command that adds a rule that lets the leg pass: behind every rule that blocks particular clients. */
  remedy: string;
}

/** The forward chains that would drop a packet on this leg. */
export function forwardDrops(ruleset: Ruleset, leg: Leg): Drop[] {
  return ruleset.chains
    .filter((c) => c.family === 'inet' || c.family === (leg.isV6 === true ? 'ip6' : 'ip'))
    .filter((c) => c.hook === 'forward' && c.type === 'filter')
    .flatMap((c) => {
      const verdict =
        walk(ruleset, c, c.name, leg, 0) ??
        (c.policy === 'drop' ? { reason: 'its policy is drop' } : 'accept');
      const chain = `${c.family} ${c.table} ${c.name}`;
      return verdict === 'accept'
        ? []
        : [{ chain, reason: verdict.reason, remedy: remedyFor(ruleset, c, leg, verdict.rule) }];
    });
}

/**
 * Just before the rule that drops, or at the end of a chain whose policy does: so what the operator blocks in
 * particular stays blocked.
 */
function remedyFor(ruleset: Ruleset, c: Chain, leg: Leg, rule: Rule | undefined): string {
  const { iif, oif, isShared } = leg;
  const chain = rule?.chain ?? c.name;
  if (c.table.endsWith('(iptables-legacy)')) {
    const kind = c.table.split(' ')[0];
    const before = ruleset.rules.filter(
      (r) => r.family === c.family && r.table === c.table && r.chain === chain,
    );
    const where = rule === undefined ? `-A ${chain}` : `-I ${chain} ${before.indexOf(rule) + 1}`;
    const which = isShared === true ? ' -m conntrack --ctstate UNTRACKED' : '';
    const tool = c.family === 'ip6' ? 'ip6tables-legacy' : 'iptables-legacy';
    return `${tool} -t ${kind} ${where} -i ${iif} -o ${oif}${which} -j ACCEPT`;
  }
  const which = isShared === true ? ' ct state untracked' : '';
  const [verb, handle] = rule === undefined ? ['add', ''] : ['insert', ` handle ${rule.handle}`];
  return `nft ${verb} rule ${c.family} ${c.table} ${chain}${handle} iifname "${iif}" oifname "${oif}"${which} accept`;
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
        if ('masquerade' in e || 'snat' in e || isTarget(e, 'MASQUERADE', 'SNAT'))
          out.push(`${r.family} ${r.table} ${r.chain}`);
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

/** Why a packet is dropped, and by which rule. */
interface Dropping {
  reason: string;
  rule?: Rule;
}

/** 'accept', a reason to drop, or undefined when the chain decides nothing. */
function walk(
  ruleset: Ruleset,
  base: Chain,
  name: string,
  leg: Leg,
  depth: number,
): 'accept' | Dropping | undefined {
  if (depth > 16) return undefined;
  for (const r of ruleset.rules) {
    if (r.chain !== name || r.table !== base.table || r.family !== base.family) continue;
    const held = r.expr.map((e) => matches(e, leg));
    if (held.includes(false)) continue;
    const certain = !held.includes(undefined);
    for (const e of r.expr) {
      if ('accept' in e && certain) return 'accept';
      if (('drop' in e || 'reject' in e || isTarget(e, 'REJECT')) && certain)
        return { reason: `a rule in ${name} drops everything from ${leg.iif} to ${leg.oif}`, rule: r };
      if ('return' in e && certain) return undefined;
      const next = (e.jump ?? e.goto) as { target: string } | undefined;
      // A jump that is certain to be taken counts with the verdict that its chain is certain to give.
      if (next !== undefined && certain) {
        const verdict = walk(ruleset, base, next.target, leg, depth + 1);
        if (verdict !== undefined || 'goto' in e) return verdict;
      }
      const mapped = verdictMap(e);
      if (mapped !== undefined) return mapped === 'accept' ? mapped : { reason: mapped, rule: r };
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

/** Whether an expression is one of these targets of iptables. */
function isTarget(e: Json, ...names: string[]): boolean {
  const xt = e.xt as { type: string; name: string } | undefined;
  return xt?.type === 'target' && names.includes(xt.name);
}

/** A target is a statement, and a comment is true; every other match of iptables is unknown in nft's JSON. */
function matchesXt(e: Json): boolean | undefined {
  const { type, name } = e.xt as { type: string; name: string };
  return type === 'target' || name === 'comment' ? true : undefined;
}

/** Whether an expression is true for a role's packet on this leg; statements are always true. */
function matches(e: Json, leg: Leg): boolean | undefined {
  const match = e.match as { op: string; left: Json; right: unknown } | undefined;
  if ('xt' in e) return matchesXt(e);
  if (match === undefined) return STATEMENTS.some((s) => s in e) ? true : undefined;
  const meta = (match.left.meta as { key: string } | undefined)?.key;
  const ct = (match.left.ct as { key: string } | undefined)?.key;
  const values = ((match.right as { set?: unknown[] })?.set ?? [match.right]).flat().map(String);
  let held: boolean | undefined;
  if (meta === 'iifname' || meta === 'iif')
    held = leg.iif === '' ? undefined : values.some((v) => nameMatches(v, leg.iif));
  else if (meta === 'oifname' || meta === 'oif') held = values.some((v) => nameMatches(v, leg.oif));
  else if (meta === 'l4proto') held = values.some((v) => v === 'tcp' || v === '6');
  else if (meta === 'nfproto') held = values.includes(leg.isV6 === true ? 'ipv6' : 'ipv4');
  else if (ct === 'state') held = values.includes('untracked');
  else return undefined;
  return held === undefined ? undefined : match.op === '!=' ? !held : held;
}

function nameMatches(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}
