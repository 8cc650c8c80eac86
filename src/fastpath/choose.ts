/** Decides `--fastpath auto|on|stack|off`: what this host supports and permits, with the reason in one line. */
import { droppedLegs, type Host } from '../steer/host.js';
import type { Leg } from '../steer/ruleset.js';
import { unavailable, whyUnavailable } from './kernel.js';
import type { Fastpath, KernelMode } from './modes.js';

export interface FastpathChoice {
  how: KernelMode;
  why: string;
  /** Chains of the host that redirected packets bypass. */
  skipped: string[];
}

/** What hooks do with packets that this host's rules would see without them. */
export interface Bypass {
  /** The legs of packets that hooks translated and left to the stack (mode stack). */
  translated?: readonly Leg[];
  /** Whether they carry packets of IPv6 too, beyond those of these legs. */
  ipv6?: boolean;
}

/**
 * @param asked the operator's choice
 * @param against the reason why the program's flows cannot be carried in the kernel here; '' when they can
 * @param object the program's name
 * @throws FirstackError FSA_FASTPATH_UNAVAILABLE when the operator's choice is not possible: also where mode stack is
 * asked for, and this host's own rules would drop its packets
 */
export async function chooseFastpath(
  asked: Fastpath,
  host: Host,
  against: string,
  object: string,
  bypass: Bypass = {},
): Promise<FastpathChoice> {
  const missing = asked === 'off' || against !== '' ? '' : await whyUnavailable(object);
  return decideFastpath(asked, host, against, missing, bypass);
}

/**
 * The same, for what is known already.
 * @param unavailableHere the reason why this host has no fast path; '' when it has
 */
export function decideFastpath(
  asked: Fastpath,
  host: Host,
  against: string,
  unavailableHere: string,
  { translated = [], ipv6 = false }: Bypass = {},
): FastpathChoice {
  if (asked === 'off') return { how: 'off', why: 'as asked', skipped: [] };
  const missing = against !== '' ? against : unavailableHere;
  if (missing !== '') {
    if (asked !== 'auto') throw unavailable(missing);
    return { how: 'off', why: missing, skipped: [] };
  }
  const rules = rulesOnTheWay(host, ipv6 || translated.some((l) => l.isV6 === true));
  const blocked = blockedBy(host, translated);
  if (asked === 'stack' && blocked !== '') throw unavailable(blocked);
  if (asked !== 'auto') return { how: asked, why: 'as asked', skipped: asked === 'on' ? rules : [] };
  if (rules.length === 0)
    return { how: 'on', why: 'eBPF is available and no rule of this host would be bypassed', skipped: [] };
  const why = `redirected packets would bypass ${rules.join(', ')}`;
  if (blocked === '') return { how: 'stack', why, skipped: [] };
  return { how: 'off', why: `${why}, and ${blocked}`, skipped: [] };
}

/** Why translated packets would not pass this host's forward chains, with the rules to add; '' where they pass. */
function blockedBy(host: Host, translated: readonly Leg[]): string {
  const dropped = droppedLegs(host, translated);
  if (dropped.length === 0) return '';
  const remedies = dropped.flatMap((d) => d.remedies).join('; ');
  const legs = dropped.map((d) => `${d.legs.join(', ')} would not pass ${d.chain}`).join('; ');
  return `translated packets ${legs} (${remedies})`;
}

/** The hooks of netfilter that a forwarded packet passes, and a redirected one does not. */
const PASSED: Record<string, readonly string[]> = {
  inet: ['ingress', 'prerouting', 'forward', 'postrouting'],
  ip: ['prerouting', 'forward', 'postrouting'],
  ip6: ['prerouting', 'forward', 'postrouting'],
  netdev: ['ingress'],
};

/** Chains of other software that forwarded packets pass. @param both IPv6 too */
export function rulesOnTheWay(host: Host, both = false): string[] {
  const { chains, rules } = host.ruleset;
  return chains
    .filter((c) => both || c.family !== 'ip6')
    .filter((c) => c.hook !== undefined && PASSED[c.family]?.includes(c.hook))
    .filter(
      (c) =>
        c.policy === 'drop' ||
        rules.some((r) => r.family === c.family && r.table === c.table && r.chain === c.name),
    )
    .map((c) => `${c.family} ${c.table} ${c.name}`);
}

export function describeFastpath({ how, why, skipped }: FastpathChoice): string {
  const past = skipped.length === 0 ? '' : `; redirected packets bypass ${skipped.join(', ')}`;
  return `fastpath ${how}: ${why}${past}`;
}
