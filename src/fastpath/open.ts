/** What `--fastpath` comes to on a host, and the hooks loaded accordingly. */
import type { Logger } from '../log.js';
import type { Host } from '../steer/host.js';
import { chooseFastpath, describeFastpath, type FastpathChoice } from './choose.js';
import { KernelPath, unavailable } from './kernel.js';
import type { HookSet } from './maps.js';
import type { Fastpath } from './modes.js';

/** A program whose flows its hooks may carry. */
export interface Carried {
  instance: string;
  asked: Fastpath;
  /** Why its flows cannot be carried here; '' when they can. */
  against: string;
  hooks: HookSet;
  /** Of its filters, among those of others. */
  pref: number;
}

export interface KernelSide {
  how: FastpathChoice['how'];
  why: string;
  path?: KernelPath;
}

/**
 * Loads the hooks, over the flows of a predecessor if there are any. Attaches nothing yet.
 * @throws FirstackError FSA_FASTPATH_UNAVAILABLE when that cannot be had
 */
export async function openKernelPath(program: Carried, host: Host, log: Logger): Promise<KernelSide> {
  const choice = await chooseFastpath(program.asked, host, program.against, program.hooks.object);
  const path = new KernelPath(program.instance, program.pref, program.hooks);
  if (choice.how !== 'off') {
    try {
      await path.load();
      log.info({ fastpath: choice.how, adopting: path.adopting }, describeFastpath(choice));
      return { how: choice.how, why: choice.why, path };
    } catch (error) {
      await path.remove();
      const why = `this kernel refuses: ${(error as Error).message.split('\n').slice(0, 3).join('; ')}`;
      if (program.asked !== 'auto') throw unavailable(why);
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
