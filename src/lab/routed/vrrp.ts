/** keepalived on balancers of one Ethernet: a next hop that moves from one to the other (VRRP, RFC 5798). */
import { writeFileSync } from 'node:fs';
import { namespaceOf } from '../network.js';
import { endAll, inNamespace, isAlive, type ProcessId, signal, spawnLogged, waitUntil } from '../process.js';
import type { RoutedLab } from './lab.js';

export const NET = '198.18.250';
/** The address that moves. */
export const FLOATING = `${NET}.9`;
const KILLED_MS = 2000;

/** Starts a daemon on a host of a laboratory. It ends with the laboratory at the latest. */
export function daemon(lab: RoutedLab, host: string, argv: string[]): ProcessId {
  const child = spawnLogged(
    inNamespace(namespaceOf(lab.name, host), argv),
    `${lab.directory}/${argv[0]}-${host}.log`,
  );
  return lab.state.noteProcess(`${argv[0]}-${host}`, child.pid);
}

export class Vrrp {
  readonly #processes = new Map<string, ProcessId>();

  /** @param device of each balancer on the Ethernet that they share */
  constructor(
    readonly lab: RoutedLab,
    readonly balancers: readonly string[],
    readonly device: string,
  ) {}

  async start(name: string): Promise<void> {
    // What a killed keepalived has left behind.
    await this.lab.exec(name, ['ip', 'addr', 'del', `${FLOATING}/24`, 'dev', this.device]);
    const at = `${this.lab.directory}/${name}.keepalived`;
    writeFileSync(`${at}.conf`, this.#configuration(name));
    const id = daemon(this.lab, name, [
      ...['keepalived', '-n', '-l', '-P', '-f', `${at}.conf`],
      ...['-p', `${at}.pid`, '-r', `${at}.vrrp.pid`, '-c', `${at}.checkers.pid`],
    ]);
    this.#processes.set(name, id);
  }

  #configuration(name: string): string {
    return `global_defs {
  router_id ${name}
  vrrp_version 3
}
vrrp_instance balanced {
  state BACKUP
  nopreempt
  interface ${this.device}
  virtual_router_id 51
  priority ${name === this.balancers[0] ? 150 : 100}
  advert_int 0.05
  garp_master_delay 1
  virtual_ipaddress {
    ${FLOATING}/24
  }
}
`;
  }

  /** The balancer that has the address; undefined where none has, or both. */
  async active(): Promise<string | undefined> {
    const have: string[] = [];
    for (const name of this.balancers) {
      const { stdout } = await this.lab.exec(name, ['ip', '-4', 'addr', 'show', 'dev', this.device]);
      if (stdout.includes(`${FLOATING}/`)) have.push(name);
    }
    return have.length === 1 ? have[0] : undefined;
  }

  /** Its VRRP process is its child, and dies with it. */
  async kill(name: string): Promise<void> {
    const id = this.#processes.get(name);
    if (id === undefined) return;
    signal(id, 'SIGKILL');
    await waitUntil(() => !isAlive(id), KILLED_MS);
  }

  async end(): Promise<void> {
    await endAll([...this.#processes.values()], KILLED_MS);
  }
}
