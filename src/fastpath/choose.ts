/** `--fastpath auto|on|stack|off`: what this host can do, what it may, and why, in one line. */
import type { Host } from '../steer/host.js';
import { unavailable, whyUnavailable } from './kernel.js';
import type { Fastpath, KernelMode } from './modes.js';

export interface FastpathChoice {
  how: KernelMode;
  why: string;
  /** Rules of the host that redirected packets pass over. */
  skipped: string[];
}

/**
 * @param asked what the operator asked for
 * @param against why the program's flows cannot be carried in the kernel here; '' when they can
 * @param object the program's name
 * @throws FirstackError FSA_FASTPATH_UNAVAILABLE when that cannot be had
 */
export async function chooseFastpath(
  asked: Fastpath,
  host: Host,
  against: string,
  object: string,
): Promise<FastpathChoice> {
  if (asked === 'off') return { how: 'off', why: 'as asked', skipped: [] };
  const missing = against !== '' ? against : await whyUnavailable(object);
  if (missing !== '') {
    if (asked !== 'auto') throw unavailable(missing);
    return { how: 'off', why: missing, skipped: [] };
  }
  const rules = rulesOnTheWay(host);
  if (asked !== 'auto') return { how: asked, why: 'as asked', skipped: asked === 'on' ? rules : [] };
  return rules.length === 0
    ? { how: 'on', why: 'eBPF is there and no rule of this host stands on the way', skipped: [] }
    : { how: 'stack', why: `redirected packets would pass over ${rules.join(', ')}`, skipped: [] };
}

/** Chains of others that forwarded packets meet. */
export function rulesOnTheWay(host: Host): string[] {
  const { chains, rules } = host.ruleset;
  return chains
    .filter((c) => c.family === 'inet' || c.family === 'ip')
    .filter((c) => c.hook === 'forward' || c.hook === 'postrouting')
    .filter((c) => !c.table.startsWith('firstack_'))
    .filter(
      (c) =>
        c.policy === 'drop' ||
        rules.some((r) => r.family === c.family && r.table === c.table && r.chain === c.name),
    )
    .map((c) => `${c.family} ${c.table} ${c.name}`);
}

export function describeFastpath({ how, why, skipped }: FastpathChoice): string {
  const past = skipped.length === 0 ? '' : `; redirected packets pass over ${skipped.join(', ')}`;
  return `fastpath ${how}: ${why}${past}`;
}
