/**
 * Asks the replica's own application, as a client would. A stopped application still has a kernel that
 * answers SYNs: only this tells whether it would serve.
 */
import { get } from 'node:http';
import { get as getTls } from 'node:https';
import { connect } from 'node:net';
import type { HealthConfig } from './config.js';

export class Health {
  /** Why it is not healthy; '' when it is. Unhealthy until the first success. */
  reason = 'not checked yet';
  #streak = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(
    readonly config: HealthConfig,
    readonly onChange: () => void,
  ) {}

  get healthy(): boolean {
    return this.reason === '';
  }

  /** Resolves after the first check. */
  async start(): Promise<void> {
    await this.#check();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #check(): Promise<void> {
    const { http, tcp, timeoutMs } = this.config;
    const problem = http !== undefined ? await checkHttp(http, timeoutMs) : await checkTcp(tcp!, timeoutMs);
    if (this.#stopped) return;
    this.#judge(problem);
    this.#timer = setTimeout(() => void this.#check(), this.config.intervalMs);
  }

  /** `rise` successes or `fall` failures in a row change the verdict. */
  #judge(problem: string): void {
    const good = problem === '';
    if (good === this.healthy) {
      this.#streak = 0;
      return;
    }
    this.#streak++;
    if (this.#streak < (good ? this.config.rise : this.config.fall)) return;
    this.#streak = 0;
    this.reason = problem;
    this.onChange();
  }
}

function checkHttp(url: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    const request = (url.startsWith('https:') ? getTls : get)(
      url,
      { agent: false, headers: { connection: 'close' } },
      (response) => {
        response.resume();
        const code = response.statusCode ?? 0;
        resolve(code >= 200 && code < 400 ? '' : `health check: HTTP ${code}`);
      },
    );
    const late = setTimeout(() => {
      resolve(`health check: no answer in ${timeoutMs} ms`);
      request.destroy();
    }, timeoutMs);
    request.on('error', (error) => resolve(`health check: ${error.message}`));
    request.on('close', () => clearTimeout(late));
  });
}

function checkTcp(target: string, timeoutMs: number): Promise<string> {
  const colon = target.lastIndexOf(':');
  return new Promise((resolve) => {
    const socket = connect({ host: target.slice(0, colon), port: Number(target.slice(colon + 1)) }, () => {
      resolve('');
      socket.destroy();
    });
    socket.setTimeout(timeoutMs, () => {
      resolve(`health check: no connection in ${timeoutMs} ms`);
      socket.destroy();
    });
    socket.on('error', (error) => resolve(`health check: ${error.message}`));
  });
}
