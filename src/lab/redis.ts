/** The laboratory's own Redis: a Unix socket, no port, nothing on disk. */
import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { FirstackError } from '../errors.js';
import { endAll, isAlive, type ProcessId, signal, spawnLogged, tail, waitUntil } from './process.js';
import type { LabState } from './state.js';

export class PrivateRedis {
  readonly socket: string;
  #process: ProcessId | undefined;

  constructor(readonly state: LabState) {
    this.socket = `${state.directory}/redis.sock`;
  }

  get url(): string {
    return `redis+unix://${this.socket}`;
  }

  async start(): Promise<void> {
    const { directory } = this.state;
    const log = `${directory}/redis.log`;
    rmSync(this.socket, { force: true });
    const argv = ['redis-server', '--port', '0', '--unixsocket', this.socket, '--unixsocketperm', '700'];
    argv.push('--save', '', '--appendonly', 'no', '--dir', directory, '--daemonize', 'no');
    const child = spawnLogged(argv, log);
    const id = this.state.noteProcess('redis', child.pid);
    this.#process = id;
    const ready = async () => (await this.#command('PING')) === '+PONG' || !isAlive(id);
    if (!(await waitUntil(ready, 5000)) || !isAlive(id)) {
      throw new FirstackError('FSA_LAB_FAILED', `redis-server did not start:\n${tail(log)}`);
    }
  }

  async stop(): Promise<void> {
    if (this.#process !== undefined) await endAll([this.#process]);
  }

  async kill(): Promise<void> {
    const id = this.#process;
    if (id === undefined) return;
    signal(id, 'SIGKILL');
    await waitUntil(() => !isAlive(id), 2000);
  }

  /** Deletes every key, because a configuration must not begin with the former configuration's records. */
  async flush(): Promise<void> {
    await this.#command('FLUSHALL');
  }

  #command(line: string): Promise<string | undefined> {
    return new Promise((resolve) => {
      const socket = connect(this.socket, () => socket.write(`${line}\r\n`));
      const end = (reply?: string) => {
        resolve(reply);
        socket.destroy();
      };
      socket.setTimeout(1000, () => end());
      socket.once('error', () => end());
      socket.once('close', () => end());
      socket.once('data', (d) => end(d.toString().trim()));
    });
  }
}
