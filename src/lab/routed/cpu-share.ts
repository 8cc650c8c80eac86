/** Processor time of a process, held to a share of one processor by a control group. */
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { FirstackError } from '../../errors.js';

const ROOT = '/sys/fs/cgroup';
/** Of a quota, µs. */
export const PERIOD_US = 20_000;

export class CpuShare {
  readonly #group: string;
  readonly #isV2 = existsSync(`${ROOT}/cgroup.controllers`);

  /** @throws FirstackError FSA_LAB_FAILED where this machine has no such groups */
  constructor(name: string, pid: number, share: number) {
    this.#group = `${ROOT}${this.#isV2 ? '' : '/cpu'}/firstack-${name}`;
    try {
      if (this.#isV2) writeFileSync(`${ROOT}/cgroup.subtree_control`, '+cpu');
      mkdirSync(this.#group, { recursive: true });
      if (!this.#isV2) writeFileSync(`${this.#group}/cpu.cfs_period_us`, String(PERIOD_US));
      this.set(share);
      writeFileSync(`${this.#group}/cgroup.procs`, String(pid));
    } catch (error) {
      throw new FirstackError('FSA_LAB_FAILED', `no control group for processor time: ${String(error)}`);
    }
  }

  /** Its first word is the quota of a period of 20 ms, µs. */
  get quotaFile(): string {
    return `${this.#group}/${this.#isV2 ? 'cpu.max' : 'cpu.cfs_quota_us'}`;
  }

  /** @param share of one processor */
  set(share: number): void {
    const quota = Math.round(share * PERIOD_US);
    writeFileSync(this.quotaFile, this.#isV2 ? `${quota} ${PERIOD_US}` : String(quota));
  }

  /** Once its process has ended. */
  remove(): void {
    rmdirSync(this.#group);
  }
}
