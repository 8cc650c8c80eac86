/** Decides `--fastpath` for this host, and loads the hooks accordingly. */
import type { Logger } from '../log.js';
import type { Host } from '../steer/host.js';
import { type Bypass, chooseFastpath, describeFastpath, type FastpathChoice } from './choose.js';
import { KernelPath, unavailable, whyUnavailable } from './kernel.js';
import type { HookSet } from './maps.js';
import type { Fastpath } from './modes.js';

/** A program whose flows its hooks may carry. */
export interface Carried {
  instance: string;
  asked: Fastpath;
  /** The reason why its flows cannot be carried here; '' when they can. */
  against: string;
  bypass: Bypass;
  hooks: HookSet;
  /** Preference of its filters, among those of other instances. */
  pref: number;
}

export interface KernelSide {
  /** The choice: whether decided flows are given to the kernel, and how. */
  how: FastpathChoice['how'];
  why: string;
  /** Why this host has no fast path, as of the start; '' where only its rules were against it. */
  missing: string;
  /** How the hooks carry the flows that they have; undefined where no hooks are loaded. */
  carries?: 'on' | 'stack';
  path?: KernelPath;
}

/**
 * Loads the hooks, and takes over the flows of a predecessor if there are any. Attaches nothing yet.
 * @throws FirstackError FSA_FASTPATH_UNAVAILABLE when the operator's choice is not possible
 */
export async function openKernelPath(program: Carried, host: Host, log: Logger): Promise<KernelSide> {
  const choice = await chooseFastpath(
    program.asked,
    host,
    program.against,
    program.hooks.object,
    program.bypass,
  );
  const path = new KernelPath(program.instance, program.pref, program.hooks);
  if (choice.how !== 'off') {
    try {
      await path.load();
      log.info({ fastpath: choice.how, adopting: path.adopting }, describeFastpath(choice));
      return { how: choice.how, why: choice.why, carries: choice.how, missing: '', path };
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
    log.warn('ended the connections that a predecessor had pinned');
  }
  log.info({ fastpath: 'off' }, describeFastpath(choice));
  const missing = program.asked === 'auto' ? await whyUnavailable(program.hooks.object) : choice.why;
  return { how: 'off', why: choice.why, missing };
}
