/**
 * What others have for two balancers of which one is lost: keepalived moves the servers' and the clients' next hop from one
 * to the other (VRRP), conntrackd tells each the other's connections, nftables spreads them over the servers by a hash.
 * They stand on one Ethernet with `wan` and the servers, since VRRP needs one; the client and its line are those of the
 * laboratory of routing.
 */
import { writeFileSync } from 'node:fs';
import { endAll, type ProcessId, signal, waitUntil } from '../process.js';
import type { RoutedLab } from './lab.js';
import { VIRTUAL, VIRTUAL_SUBNET } from './plan.js';
import { daemon, FLOATING, NET, Vrrp } from './vrrp.js';

const WAN = `${NET}.1`;
const BRIDGE = 'balanced';
/** The emulated line's table for packets to the client (`plan.ts`). */
const TO_CLIENT_TABLE = 102;
const MOVES_WITHIN_MS = 10_000;

export class Keepalived {
  readonly #conntrackd = new Map<string, ProcessId>();
  readonly #vrrp: Vrrp;
  readonly #addresses: ReadonlyMap<string, string>;

  private constructor(
    readonly lab: RoutedLab,
    readonly balancers: readonly string[],
    readonly servers: readonly string[],
  ) {
    const all = [...balancers.map((b, n) => [b, n + 2]), ...servers.map((s, n) => [s, n + 11])];
    this.#addresses = new Map(all.map(([name, last]) => [name as string, `${NET}.${last}`]));
    this.#vrrp = new Vrrp(lab, balancers, 'wan0');
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
    const at = `${this.lab.directory}/${name}.conntrackd`;
    writeFileSync(`${at}.conf`, this.#synchronisation(name, at));
    this.#conntrackd.set(name, daemon(this.lab, name, ['conntrackd', '-C', `${at}.conf`]));
    await this.#vrrp.start(name);
  }

  #synchronisation(name: string, at: string): string {
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
  LockFile ${at}.lock
  UNIX {
    Path ${at}.ctl
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

  /** The balancer that has the address. */
  active(): Promise<string | undefined> {
    return this.#vrrp.active();
  }

  /** Both of a balancer's daemons, without a word. */
  async kill(name: string): Promise<void> {
    const id = this.#conntrackd.get(name);
    if (id !== undefined) signal(id, 'SIGKILL');
    await this.#vrrp.kill(name);
  }

  async end(): Promise<void> {
    await this.#vrrp.end();
    await endAll([...this.#conntrackd.values()], 2000);
  }
}
