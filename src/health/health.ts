/**
 * Asks an application as a client would, or runs a command that checks it. The kernel of a host whose application has
 * stopped still answers SYNs: only this check tells whether the application would serve.
 */
import { execFile } from 'node:child_process';
import { get } from 'node:http';
import { get as getTls } from 'node:https';
import { connect } from 'node:net';
import type { Schema } from '../config.js';
import { explained } from '../explained.js';

export interface HealthConfig {
  /** URL that must answer 2xx or 3xx. */
  http?: string;
  /** HOST:PORT that must accept a connection. */
  tcp?: string;
  /** Program and arguments; exit code 0 is health. Runs with the role's rights, through no shell. */
  command?: string[];
  intervalMs: number;
  timeoutMs: number;
  /** Consecutive successes that make it healthy, and consecutive failures that make it unhealthy. */
  rise: number;
  fall: number;
}

export const healthSchema: Schema = {
  type: 'object',
  description:
    'How the web server is checked: by one of http, tcp, command. Without it, it is taken to be well.',
  additionalProperties: false,
  properties: {
    http: explained(
      { type: 'string', pattern: '^https?://[^/]+' },
      'A URL that must answer with a status below 400,',
      'http://198.51.100.7/',
    ),
    tcp: explained(
      { type: 'string', pattern: '^.+:[0-9]{1,5}$' },
      'or HOST:PORT that must accept a connection,',
      '198.51.100.7:80',
    ),
    command: explained(
      { type: 'array', minItems: 1, items: { type: 'string', minLength: 1 } },
      'or a program that must exit with 0.',
      ['/usr/local/bin/check-web'],
    ),
    intervalMs: explained({ type: 'integer', minimum: 50, default: 1000 }, 'Time between two checks.'),
    timeoutMs: explained(
      { type: 'integer', minimum: 10, default: 900 },
      'A check that takes longer has failed.',
    ),
    rise: explained({ type: 'integer', minimum: 1, default: 1 }, 'Checks in a row that make it well,'),
    fall: explained({ type: 'integer', minimum: 1, default: 2 }, 'and that make it ill.'),
  },
};

/** The configuration's problem beyond its schema; '' when there is none. */
export function healthProblem(config: HealthConfig): string {
  const kinds = [config.http, config.tcp, config.command].filter((kind) => kind !== undefined);
  return kinds.length === 1 ? '' : "'health' needs one of http, tcp, command";
}

/** The same check as one line of shell, for an operator who asks why it fails. */
export function checkLine({ http, tcp, command = [], timeoutMs }: HealthConfig): string {
  const most = Math.max(1, Math.ceil(timeoutMs / 1000));
  if (http !== undefined) return `curl -sS -o /dev/null -D - -m ${most} ${http}`;
  if (tcp !== undefined) return `timeout ${most} bash -c '</dev/tcp/${tcp.replace(/:(?=\d+$)/, '/')}'`;
  return command.map((c) => (/^[\w./:=-]+$/.test(c) ? c : `'${c.replaceAll("'", "'\\''")}'`)).join(' ');
}

export class Health {
  /** The reason why it is not healthy; '' when it is. Unhealthy until the first success. */
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
    const problem = await check(this.config);
    if (this.#stopped) return;
    this.#judge(problem);
    this.#timer = setTimeout(() => void this.#check(), this.config.intervalMs);
  }

  /** `rise` consecutive successes or `fall` consecutive failures change the verdict. */
  #judge(problem: string): void {
    const good = problem === '';
    if (good === this.healthy) {
      this.#streak = 0;
      // Keeps the latest reason.
      if (!good) this.reason = problem;
      return;
    }
    this.#streak++;
    if (this.#streak < (good ? this.config.rise : this.config.fall)) return;
    this.#streak = 0;
    this.reason = problem;
    this.onChange();
  }
}

function check({ http, tcp, command, timeoutMs }: HealthConfig): Promise<string> {
  if (http !== undefined) return checkHttp(http, timeoutMs);
  return tcp !== undefined ? checkTcp(tcp, timeoutMs) : checkCommand(command!, timeoutMs);
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

function checkCommand([program, ...args]: string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    const options = { timeout: timeoutMs, killSignal: 'SIGKILL' as const };
    execFile(program, args, options, (error, stdout, stderr) => {
      const said = `${stderr}${stdout}`.trim().split('\n')[0].slice(0, 200);
      if (error === null) resolve('');
      else if (error.killed) resolve(`health check: ${program} did not end in ${timeoutMs} ms`);
      else if (typeof error.code === 'number')
        resolve(`health check: ${program} ended with ${error.code}${said === '' ? '' : `: ${said}`}`);
      else resolve(`health check: ${program}: ${error.code ?? error.signal}`);
    });
  });
}
