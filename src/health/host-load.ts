/** How busy this machine is: the connections on its services' ports, and processor use. */
import { readFileSync } from 'node:fs';
import { native } from '../device/native.js';

// TCP states as the kernel numbers them, and as /proc/net/tcp prints them.
const ESTABLISHED = 1;
const SYN_RECV = 3;
const WRITTEN = new Set(['01', '03']);

/** Established and half-open connections on local ports. */
export function countConnections(ports: ReadonlySet<number>): number {
  try {
    return native.countSockets((1 << ESTABLISHED) | (1 << SYN_RECV), Uint16Array.from(ports));
  } catch {
    return countListed(ports);
  }
}

/** The same count for a kernel without tcp_diag, from the list of all connections. */
export function countListed(ports: ReadonlySet<number>): number {
  let count = 0;
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      continue;
    }
    for (const line of text.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/, 4);
      if (fields.length < 4 || !WRITTEN.has(fields[3])) continue;
      if (ports.has(Number.parseInt(fields[1].slice(fields[1].lastIndexOf(':') + 1), 16))) count++;
    }
  }
  return count;
}

/** Processor use of the whole machine between two calls. */
export class CpuMeter {
  #busy = 0;
  #total = 0;

  /** Percent since the last call; 0 at the first call. */
  read(): number {
    const fields = readFileSync('/proc/stat', 'utf8')
      .split('\n', 1)[0]
      .trim()
      .split(/\s+/)
      .slice(1, 9)
      .map(Number);
    const total = fields.reduce((a, b) => a + b, 0);
    const busy = total - fields[3] - fields[4];
    const share =
      this.#total === 0 || total === this.#total ? 0 : (busy - this.#busy) / (total - this.#total);
    this.#busy = busy;
    this.#total = total;
    return share * 100;
  }
}
