/** What `--fastpath` comes to on a host, and the programs loaded accordingly. */
import type { Logger } from '../log.js';
import type { Host } from '../steer/host.js';
import { chooseFastpath, describeFastpath, type FastpathChoice } from './choose.js';
import { KernelPath, unavailable } from './kernel.js';
import type { Fastpath } from './modes.js';

/** Of a role whose flows the programs may carry. */
export interface Carried {
  instance: string;
  asked: Fastpath;
  /** Why its flows cannot be carried here; '' when they can. */
  against: string;
  /** Flows at most. */
  max: number;
  /** Of its filters, among those of others. */
  pref: number;
}

export interface KernelSide {
  how: FastpathChoice['how'];
  why: string;
  path?: KernelPath;
}

/**
 * Loads the programs, over the flows of a predecessor if there are any. Attaches nothing yet.
 * @throws FirstackError FSA_FASTPATH_UNAVAILABLE when that cannot be had
 */
export async function openKernelPath(role: Carried, host: Host, log: Logger): Promise<KernelSide> {
  const choice = await chooseFastpath(role.asked, host, role.against);
  const path = new KernelPath(role.instance, role.pref);
  if (choice.how !== 'off') {
    try {
      await path.load(role.max);
      log.info({ fastpath: choice.how, adopting: path.adopting }, describeFastpath(choice));
      return { how: choice.how, why: choice.why, path };
    } catch (error) {
      await path.remove();
      const why = `this kernel refuses: ${(error as Error).message.split('\n').slice(0, 3).join('; ')}`;
      if (role.asked !== 'auto') throw unavailable(why);
      choice.how = 'off';
      choice.why = why;
    }
  }
  if (path.isLeft) {
    await path.remove();
    log.warn('the connections that a predecessor pinned are given up');
  }
  log.info({ fastpath: 'off' }, describeFastpath(choice));
  return { how: 'off', why: choice.why };
}
