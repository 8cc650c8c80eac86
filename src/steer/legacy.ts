/**
 * Reads rules that iptables-legacy wrote, which nft does not list, into the shapes of `ruleset.ts`. Only what decides
 * whether a packet passes is interpreted; every other match is unknown, and an unknown match is never relied upon.
 */
import { readFileSync } from 'node:fs';
import type { Chain, Json, Rule, Ruleset } from './ruleset.js';
import { command } from './tools.js';

type Family = 'ip' | 'ip6';
/** By family: the tables that are in use in this network namespace (absent where the kernel has none), and the tool. */
const FRONT_ENDS: Record<Family, { inUse: string; tool: string }> = {
  ip: { inUse: '/proc/net/ip_tables_names', tool: 'iptables-legacy-save' },
  ip6: { inUse: '/proc/net/ip6_tables_names', tool: 'ip6tables-legacy-save' },
};

const HOOKS: Record<string, string> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
};

/** The rules of iptables-legacy here, in both families. Where they cannot be read they are presumed to be there. */
export async function readLegacy(): Promise<Ruleset> {
  const read = await Promise.all([readFamily('ip'), readFamily('ip6')]);
  return { chains: read.flatMap((r) => r.chains), rules: read.flatMap((r) => r.rules) };
}

async function readFamily(family: Family): Promise<Ruleset> {
  const { inUse, tool } = FRONT_ENDS[family];
  let tables: string[];
  try {
    tables = readFileSync(inUse, 'utf8')
      .split('\n')
      .filter((t) => t !== '');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { chains: [], rules: [] };
    return presumed(family, `${inUse} may not be read`);
  }
  const read: Ruleset[] = [];
  for (const table of tables) {
    try {
      read.push(parseLegacy(await command(tool, ['-t', table]), family));
    } catch {
      read.push(presumed(family, `${tool} is not installed, or may not be run`));
    }
  }
  return { chains: read.flatMap((r) => r.chains), rules: read.flatMap((r) => r.rules) };
}

/** One rule of unknown content in each hook that a forwarded packet passes. */
function presumed(family: Family, why: string): Ruleset {
  const table = `of iptables-legacy (presumed: ${why})`;
  const names = ['PREROUTING', 'FORWARD', 'POSTROUTING'];
  return {
    chains: names.map((name) => ({
      ...{ family, table, name, type: 'filter', hook: HOOKS[name], policy: 'accept' },
    })),
    rules: names.map((chain) => ({
      family,
      table,
      chain,
      expr: [{ xt: { type: 'match', name: '?' } }],
    })),
  };
}

/** @param text the output of the family's tool */
export function parseLegacy(text: string, family: Family = 'ip'): Ruleset {
  const chains: Chain[] = [];
  const rules: Rule[] = [];
  let kind = '';
  for (const line of text.split('\n')) {
    const table = `${kind} (iptables-legacy)`;
    const declared = /^:(\S+) (\S+)/.exec(line);
    if (line.startsWith('*')) kind = line.slice(1);
    else if (declared !== null) {
      const [, name, policy] = declared;
      const base =
        HOOKS[name] === undefined
          ? {}
          : { hook: HOOKS[name], policy: policy.toLowerCase(), type: kind === 'nat' ? 'nat' : 'filter' };
      chains.push({ family, table, name, ...base });
    } else if (line.startsWith('-A ')) {
      const [, chain, ...words] = wordsOf(line);
      rules.push({ family, table, chain, expr: exprOf(words, family) });
    }
  }
  return { chains, rules };
}

/** Splits at spaces; a comment stands in quotes. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map((m) => m[1] ?? m[2]);

const VERDICTS: Record<string, Json> = {
  ACCEPT: { accept: null },
  DROP: { drop: null },
  RETURN: { return: null },
};
/** Targets that decide nothing, or that {@link Ruleset}'s readers know by name. */
const TARGETS = [
  'MASQUERADE',
  'SNAT',
  'DNAT',
  'REDIRECT',
  'REJECT',
  'LOG',
  'NFLOG',
  'MARK',
  'CONNMARK',
  'TCPMSS',
  'CT',
  'NOTRACK',
];

function exprOf(words: readonly string[], family: Family): Json[] {
  const expr: Json[] = [];
  let negated = false;
  for (let i = 0; i < words.length; i++) {
    const op = negated ? '!=' : '==';
    const word = words[i];
    if (word === '!') {
      negated = true;
      continue;
    }
    if (word === '-i' || word === '-o') {
      const name = words[++i].replace(/\+$/, '*');
      expr.push({
        match: { op, left: { meta: { key: word === '-i' ? 'iifname' : 'oifname' } }, right: name },
      });
    } else if (word === '-p') {
      expr.push({ match: { op, left: { meta: { key: 'l4proto' } }, right: words[++i] } });
    } else if (word === '-s' || word === '-d') {
      const [addr, len = family === 'ip' ? '32' : '128'] = words[++i].split('/');
      const field = word === '-s' ? 'saddr' : 'daddr';
      const right = { prefix: { addr, len: Number(len) } };
      expr.push({ match: { op, left: { payload: { protocol: family, field } }, right } });
    } else if (word === '-m') {
      const name = words[++i];
      // These only stand before their options.
      if (!['comment', 'tcp', 'conntrack', 'state'].includes(name))
        expr.push({ xt: { type: 'match', name } });
    } else if (word === '--comment') i++;
    else if (word === '--ctstate' || word === '--state') {
      const right = words[++i].toLowerCase().split(',');
      expr.push({ match: { op: negated ? '!=' : 'in', left: { ct: { key: 'state' } }, right } });
    } else if (word === '-j' || word === '-g') {
      expr.push(targetOf(words[++i], word === '-g'));
      // What follows belongs to the target.
      return expr;
    } else expr.push({ xt: { type: 'match', name: word } });
    negated = false;
  }
  return expr;
}

function targetOf(name: string, isGoto: boolean): Json {
  if (VERDICTS[name] !== undefined) return VERDICTS[name];
  if (TARGETS.includes(name)) return { xt: { type: 'target', name } };
  return isGoto ? { goto: { target: name } } : { jump: { target: name } };
}
