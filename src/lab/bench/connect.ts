/** TCP connections from a laboratory's client, timed there by a separate process (`agent.ts`). */
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { createInterface } from 'node:readline';
import { FirstackError } from '../../errors.js';
import { clientAddresses } from '../network.js';
import { benchAgentScript } from '../paths.js';
import type { Topology } from '../topology.js';

export interface Connection {
  /** '' when the connection failed. */
  servedBy: string;
  connectMs: number;
  /** When it was begun, by the wall clock. */
  begunAtMs: number;
}

export interface Order {
  id: number;
  address: string;
  port: number;
  count: number;
  concurrency: number;
  /** The client's addresses, which take turns; undefined: its first. */
  sources?: readonly string[];
  /** Begin so many a second, whether the others are open or not; `concurrency` does not matter then. */
  perSecond?: number;
  /** The one connection stays open after its first request. */
  isHeld?: boolean;
  /** One more request on the connection that the order of this number holds, which then ends. */
  opened?: number;
}

export interface Held {
  /** The server's name, at the first request. */
  servedBy: string;
  /** Sends a second request and ends the connection. @returns the server's name; '' when the connection was broken */
  end(): Promise<string>;
}

interface Waiting {
  resolve(connections: Connection[]): void;
  reject(error: Error): void;
}

/** A laboratory with a host `client`. */
export interface WithClient {
  readonly topology: Pick<Topology, 'clientPrefixes'>;
  spawnIn(host: string, argv: string[], options?: SpawnOptions): ChildProcess;
}

const ended = (): FirstackError =>
  new FirstackError('FSA_LAB_FAILED', "the process that makes the client's connections has ended");

/** @throws FirstackError FSA_LAB_FAILED from each method when its process has ended */
export class Client {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  #orders = 0;
  readonly #sources: readonly string[] | undefined;

  constructor(lab: WithClient) {
    const sources = clientAddresses(lab.topology);
    this.#sources = sources.length > 1 ? sources : undefined;
    this.#child = lab.spawnIn('client', [process.execPath, benchAgentScript], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdin!.on('error', () => {});
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const { id, connections } = JSON.parse(line) as { id: number; connections: Connection[] };
      this.#waiting.get(id)?.resolve(connections);
      this.#waiting.delete(id);
    });
    this.#child.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(ended());
      this.#waiting.clear();
    });
  }

  /** @param concurrency the number of connections at a time */
  connect(address: string, port: number, count = 1, concurrency = 1): Promise<Connection[]> {
    return this.#order({ id: this.#orders++, address, port, count, concurrency });
  }

  /** Begins connections at a steady rate. */
  connectSteadily(address: string, port: number, count: number, perSecond: number): Promise<Connection[]> {
    return this.#order({ id: this.#orders++, address, port, count, concurrency: count, perSecond });
  }

  /** Opens one connection, sends a request on it and keeps it. */
  async hold(address: string, port: number): Promise<Held> {
    const base = { address, port, count: 1, concurrency: 1 };
    const opened = this.#orders++;
    const [{ servedBy }] = await this.#order({ ...base, id: opened, isHeld: true });
    const end = async (): Promise<string> =>
      (await this.#order({ ...base, id: this.#orders++, opened }))[0].servedBy;
    return { servedBy, end };
  }

  #order(order: Order): Promise<Connection[]> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) return reject(ended());
      this.#waiting.set(order.id, { resolve, reject });
      this.#child.stdin!.write(`${JSON.stringify({ ...order, sources: this.#sources })}\n`);
    });
  }

  end(): void {
    this.#child.stdin?.end();
    this.#child.kill('SIGTERM');
  }
}
