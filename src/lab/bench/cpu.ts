/** Processor time, as the kernel counts it. */
import { readFileSync } from 'node:fs';

/** The kernel's tick in /proc on all Linux systems on which Node runs. */
const TICKS_PER_SECOND = 100;

/** Seconds in which a processor of this machine was not idle, summed over processors. */
export function machineCpuSeconds(): number {
  const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0];
  // user nice system idle iowait irq softirq steal; time of guests is included in user.
  const [user, nice, system, , , irq, softirq, steal] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND;
}

/** Seconds that these processes ran, in user space and in the kernel. */
export function processCpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // The process has ended; its processor time is not known.
    }
  }
  return ticks / TICKS_PER_SECOND;
}
