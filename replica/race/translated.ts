/**
 * Connections that rules of this host translate to another place, such as a container: they have no socket here. The
 * kernel's list of tracked connections has them.
 */
import { createReadStream, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const LIST = '/proc/net/nf_conntrack';
const TRACKED = '/proc/sys/net/netfilter/nf_conntrack_count';
/** Reading the list of so many connections may be repeated every second; that of twice as many every two seconds. */
const PER_SECOND = 10_000;
const LIVE =
  /^ipv4 .* (?:ESTABLISHED|SYN_RECV) src=\S+ dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) dst=\S+ sport=(\d+) /;

/** Whether a line of the list is a living connection to one of these addresses and ports that is translated. */
export function isTranslated(
  line: string,
  addresses: ReadonlySet<string>,
  ports: ReadonlySet<number>,
): boolean {
  const match = LIVE.exec(line);
  if (match === null) return false;
  const [, daddr, dport, answering, from] = match;
  return addresses.has(daddr) && ports.has(Number(dport)) && (answering !== daddr || from !== dport);
}

export class Translated {
  /** As of the last time that the list was read. */
  count = 0;
  #isReading = false;
  #nextMs = 0;

  /** Reads the list again, if it is time. Where the kernel tracks nothing, or shows no list, the count is 0. */
  async look(addresses: ReadonlySet<string>, ports: ReadonlySet<number>, nowMs: number): Promise<void> {
    if (this.#isReading || nowMs < this.#nextMs) return;
    const tracked = trackedConnections();
    this.#nextMs = nowMs + (1000 * tracked) / PER_SECOND;
    if (tracked === 0) {
      this.count = 0;
      return;
    }
    this.#isReading = true;
    try {
      this.count = await countLines(addresses, ports);
    } catch {
      this.count = 0;
    } finally {
      this.#isReading = false;
    }
  }
}

function trackedConnections(): number {
  try {
    return Number(readFileSync(TRACKED, 'utf8'));
  } catch {
    return 0;
  }
}

async function countLines(addresses: ReadonlySet<string>, ports: ReadonlySet<number>): Promise<number> {
  let count = 0;
  for await (const line of createInterface({ input: createReadStream(LIST) }))
    if (isTranslated(line, addresses, ports)) count++;
  return count;
}
