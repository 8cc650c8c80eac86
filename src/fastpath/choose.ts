/** Decides `--fastpath auto|on|stack|off`: what this host supports and permits, with the reason in one line. */
import type { Host } from '../steer/host.js';
import { unavailable, whyUnavailable } from './kernel.js';
import type { Fastpath, KernelMode } from './modes.js';

export interface FastpathChoice {
  how: KernelMode;
  why: string;
  /** Chains of the host that redirected packets bypass. */
  skipped: string[];
}

/**
 * @param asked the operator's choice
 * @param against the reason why the program's flows cannot be carried in the kernel here; '' when they can
 * @param object the program's name
 * @throws FirstackError FSA_FASTPATH_UNAVAILABLE when the operator's choice is not possible
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
    ? { how: 'on', why: 'eBPF is available and no rule of this host would be bypassed', skipped: [] }
    : { how: 'stack', why: `redirected packets would bypass ${rules.join(', ')}`, skipped: [] };
}

/** Chains of other software that forwarded packets pass. */
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
  const past = skipped.length === 0 ? '' : `; redirected packets bypass ${skipped.join(', ')}`;
  return `fastpath ${how}: ${why}${past}`;
}
