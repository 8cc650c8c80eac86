/** The real nginx of the server and of each replica. Its access log proves which machine served a request. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import { FARM, machineAddress, machineNames } from './farm.js';
import { namespaceOf, within } from './network.js';
import {
  endAll,
  inNamespace,
  isAlive,
  type ProcessId,
  signal,
  spawnLogged,
  tail,
  waitUntil,
} from './process.js';
import type { LabState } from './state.js';
import type { Topology } from './topology.js';

/** A port that belongs to no service: connections to it are never raced, and show the time of a plain connection. */
export const DIRECT_PORT = 8080;

export interface AccessLine {
  host: string;
  client: string;
  server: string;
  request: string;
  status: number;
}

export class WebServer {
  readonly directory: string;
  /**
   * The name that the web server writes into its header: `origin` for the server behind the origin switch, on the farm
   * the machine's whose address was asked, else the host's.
   */
  readonly servedBy: string;
  #process: ProcessId | undefined;

  constructor(
    readonly state: LabState,
    readonly host: string,
    readonly topology: Topology,
  ) {
    this.directory = `${state.directory}/nginx-${host}`;
    this.servedBy = host === 'server' ? 'origin' : host === FARM ? '$machine' : host;
  }

  get blobDirectory(): string {
    return `${this.state.directory}/blob`;
  }
  get uploadDirectory(): string {
    return `${this.directory}/upload`;
  }

  async start(): Promise<void> {
    mkdirSync(this.uploadDirectory, { recursive: true });
    mkdirSync(this.blobDirectory, { recursive: true });
    const conf = `${this.directory}/nginx.conf`;
    writeFileSync(conf, this.#configuration());
    const namespace = namespaceOf(this.state.record.name, this.host);
    const argv = inNamespace(namespace, ['nginx', '-p', this.directory, '-e', 'error.log', '-c', conf]);
    const log = `${this.directory}/error.log`;
    const child = spawnLogged(argv, log);
    const id = this.state.noteProcess(`nginx-${this.host}`, child.pid);
    this.#process = id;
    const ports = this.#servicePorts();
    const listening = () => ports.every((p) => isListening(namespace, p));
    await waitUntil(() => listening() || !isAlive(id), 5000);
    if (!isAlive(id) || !listening()) {
      throw new FirstackError('FSA_LAB_FAILED', `nginx on ${this.host} did not start:\n${tail(log)}`);
    }
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  get isRunning(): boolean {
    return this.#process !== undefined && isAlive(this.#process);
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
  /** Stops its process (SIGSTOP): the kernel still answers SYNs for it. */
  pause(): void {
    if (this.#process !== undefined) signal(this.#process, 'SIGSTOP');
  }
  resume(): void {
    if (this.#process !== undefined) signal(this.#process, 'SIGCONT');
  }

  /** The requests that it has served, without health checks, oldest first. */
  accessLog(): AccessLine[] {
    let text = '';
    try {
      text = readFileSync(`${this.directory}/access.log`, 'utf8');
    } catch {
      return [];
    }
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [host, client, server, status, request] = line.split('\t');
        return { host, client, server, status: Number(status), request };
      });
  }

  #servicePorts(): number[] {
    return this.topology.services.filter((s) => s.webServer !== false).flatMap((s) => s.ports);
  }

  /** On the farm: the machine's name by the address that was asked. */
  #machines(): string {
    if (this.host !== FARM) return '';
    const names = machineNames(this.topology.farm?.machines ?? 0);
    const lines = names.map((m) => `    ${machineAddress(m)} ${m};`);
    return `  map_hash_max_size 131072;
  map_hash_bucket_size 128;
  map $server_addr $machine {
    default farm;
${lines.join('\n')}
  }
`;
  }

  // One process without a master, so that killing it kills all of the server.
  #configuration(): string {
    const ports = [...this.#servicePorts(), DIRECT_PORT];
    const both = (p: number): string => (this.topology.ipv6 ? `    listen [::]:${p};` : '');
    const listens = [...new Set(ports)].map((p) => `    listen ${p};${both(p)}`);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    return `# Written by firstack's laboratory.
user root;
daemon off;
master_process off;
pid nginx.pid;
error_log error.log notice;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
  log_format lab '${this.servedBy}\\t$remote_addr:$remote_port\\t$server_addr:$server_port\\t$status\\t$request';
${this.#machines()}  map $uri $evidence { /healthz 0; default 1; }
  access_log access.log lab if=$evidence;
${temporary.map((t) => `  ${t}_temp_path ${t}_temp;`).join('\n')}
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 65s;
  default_type application/octet-stream;
  server {
${listens.join('\n')}
    add_header X-Served-By ${this.servedBy} always;
    location = / { default_type text/plain; return 200 "served by ${this.servedBy}\\n"; }
    location = /healthz { default_type text/plain; return 200 "ok\\n"; }
    location /blob/ { root ${this.state.directory}; }
    location /work/ {
      alias ${this.blobDirectory}/;
      gzip on;
      gzip_types *;
      gzip_comp_level 9;
      gzip_buffers 1 4m;
    }
    location /slow/ {
      alias ${this.blobDirectory}/;
      limit_rate 2k;
    }
    location /upload/ {
      root ${this.directory};
      dav_methods PUT;
      client_max_body_size 0;
    }
  }
}
`;
  }
}

/** Whether the kernel of that namespace listens on a port, without a connection that nginx would log. */
function isListening(namespace: string, port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return within(namespace, () => readFileSync('/proc/thread-self/net/tcp', 'utf8'))
    .split('\n')
    .some((line) => new RegExp(`^ *\\d+: [0-9A-F]{8}:${hex} 0{8}:0{4} 0A `).test(line));
}
