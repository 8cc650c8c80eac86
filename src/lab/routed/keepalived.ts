/**
 * What others have for two balancers of which one is lost: keepalived moves the servers' and the clients' next hop from one
 * to the other (VRRP), conntrackd tells each the other's connections, nftables spreads them over the servers by a hash.
 * They stand on one Ethernet with `wan` and the servers, since VRRP needs one; the client and its line are those of the
 * laboratory of routing.
 */
import { writeFileSync } from 'node:fs';
import { namespaceOf } from '../network.js';
import { endAll, inNamespace, isAlive, type ProcessId, signal, spawnLogged, waitUntil } from '../process.js';
import type { RoutedLab } from './lab.js';
import { VIRTUAL, VIRTUAL_SUBNET } from './plan.js';

const NET = '198.18.250';
const WAN = `${NET}.1`;
/** The address that moves. */
const FLOATING = `${NET}.9`;
const BRIDGE = 'balanced';
/** The emulated line's table for packets to the client (`plan.ts`). */
const TO_CLIENT_TABLE = 102;
const MOVES_WITHIN_MS = 10_000;

export class Keepalived {
  readonly #processes = new Map<string, ProcessId[]>();
  readonly #addresses: ReadonlyMap<string, string>;

  private constructor(
    readonly lab: RoutedLab,
    readonly balancers: readonly string[],
    readonly servers: readonly string[],
  ) {
    const all = [...balancers.map((b, n) => [b, n + 2]), ...servers.map((s, n) => [s, n + 11])];
    this.#addresses = new Map(all.map(([name, last]) => [name as string, `${NET}.${last}`]));
  }

  /** @param lab none of its roles has been started */
  static async create(lab: RoutedLab): Promise<Keepalived> {
    const balancers = lab.hosts.filter((h) => h.level === lab.hosts[0].level).map((h) => h.name);
    const k = new Keepalived(
      lab,
      balancers,
      lab.servers.map((s) => s.name),
    );
    await k.#join();
    for (const name of balancers) await k.start(name);
    if (!(await waitUntil(async () => (await k.active()) !== undefined, MOVES_WITHIN_MS, 100)))
      throw new Error('no balancer took the address');
    return k;
  }

  /** Balancers and servers leave their own lines, and stand on one Ethernet. */
  async #join(): Promise<void> {
    const { lab } = this;
    const names = [...this.#addresses.keys()];
    await this.#shell('wan', [
      `ip link add ${BRIDGE} type bridge`,
      ...names.flatMap((n) => [`ip addr flush dev to-${n}`, `ip link set to-${n} master ${BRIDGE}`]),
      `ip addr add ${WAN}/24 dev ${BRIDGE}`,
      `ip link set ${BRIDGE} up`,
      `ip rule add pref ${TO_CLIENT_TABLE} iif ${BRIDGE} lookup ${TO_CLIENT_TABLE}`,
      `ip route replace ${VIRTUAL_SUBNET} via ${FLOATING}`,
    ]);
    for (const [name, address] of this.#addresses) {
      const isServer = this.servers.includes(name);
      await this.#shell(name, [
        'ip addr flush dev wan0',
        `ip addr add ${address}/24 dev wan0`,
        `ip route replace default via ${isServer ? FLOATING : WAN}`,
        ...(isServer
          ? [`ip addr del ${VIRTUAL}/32 dev lo`]
          : ['sysctl -qw net.ipv4.conf.all.send_redirects=0']),
        ...(isServer ? [] : ['sysctl -qw net.ipv4.conf.wan0.send_redirects=0']),
      ]);
    }
    const servers = this.servers.map((s, n) => `${n} : ${this.#addresses.get(s)}`).join(', ');
    // Servers open no connections: a packet of a connection that is not known here must not make one of them the client.
    const rules = `table ip balance {
  chain answers {
    type filter hook prerouting priority mangle; policy accept;
    ip saddr { ${this.servers.map((s) => this.#addresses.get(s)).join(', ')} } ct state { new, invalid } drop
  }
  chain in {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr ${VIRTUAL} tcp dport 80 dnat to jhash ip saddr . tcp sport mod ${this.servers.length} seed 1 map { ${servers} }
  }
}
`;
    for (const name of this.balancers) {
      await lab.mustExec(name, ['nft', '-f', '-'], { input: rules });
      // As conntrackd's manual advises: what has passed since the last news is not out of the window.
      await this.#shell(name, ['sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1']);
    }
  }

  async #shell(host: string, commands: readonly string[]): Promise<void> {
    await this.lab.mustExec(host, ['sh', '-ec', commands.join('\n')]);
  }

  async start(name: string): Promise<void> {
    // What a killed keepalived has left behind.
    await this.lab.exec(name, ['ip', 'addr', 'del', `${FLOATING}/24`, 'dev', 'wan0']);
    const at = `${this.lab.directory}/${name}`;
    writeFileSync(`${at}.conntrackd.conf`, this.#conntrackd(name, at));
    writeFileSync(`${at}.keepalived.conf`, this.#keepalived(name));
    const pids = ['pid', 'vrrp.pid', 'checkers.pid'].map((p) => `${at}.keepalived.${p}`);
    this.#processes.set(name, [
      this.#spawn(name, 'conntrackd', ['conntrackd', '-C', `${at}.conntrackd.conf`]),
      this.#spawn(name, 'keepalived', [
        ...['keepalived', '-n', '-l', '-P', '-f', `${at}.keepalived.conf`],
        ...['-p', pids[0], '-r', pids[1], '-c', pids[2]],
      ]),
    ]);
  }

  #spawn(host: string, what: string, argv: string[]): ProcessId {
    const child = spawnLogged(
      inNamespace(namespaceOf(this.lab.name, host), argv),
      `${this.lab.directory}/${what}-${host}.log`,
    );
    return this.lab.state.noteProcess(`${what}-${host}`, child.pid);
  }

  #conntrackd(name: string, at: string): string {
    const other = this.balancers.find((b) => b !== name) as string;
    return `Sync {
  Mode FTFW {
    DisableExternalCache On
  }
  UDP {
    IPv4_address ${this.#addresses.get(name)}
    IPv4_Destination_Address ${this.#addresses.get(other)}
    Port 3780
    Interface wan0
    SndSocketBuffer 4194304
    RcvSocketBuffer 4194304
    Checksum on
  }
}
General {
  HashSize 32768
  HashLimit 131072
  LockFile ${at}.conntrackd.lock
  UNIX {
    Path ${at}.conntrackd.ctl
  }
  NetlinkBufferSize 2097152
  NetlinkBufferSizeMaxGrowth 8388608
  Filter From Kernelspace {
    Protocol Accept {
      TCP
    }
  }
}
`;
  }

  #keepalived(name: string): string {
    return `global_defs {
  router_id ${name}
  vrrp_version 3
}
vrrp_instance balanced {
  state BACKUP
  nopreempt
  interface wan0
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
      const { stdout } = await this.lab.exec(name, ['ip', '-4', 'addr', 'show', 'dev', 'wan0']);
      if (stdout.includes(`${FLOATING}/`)) have.push(name);
    }
    return have.length === 1 ? have[0] : undefined;
  }

  /** Both of a balancer's processes, without a word. */
  async kill(name: string): Promise<void> {
    const ids = this.#processes.get(name) ?? [];
    const [, keepalived] = ids;
    // Its VRRP process is its child, and dies with it.
    for (const id of ids) signal(id, 'SIGKILL');
    await waitUntil(() => !isAlive(keepalived), 2000);
  }

  async end(): Promise<void> {
    await endAll([...this.#processes.values()].flat(), 2000);
  }
}
