/**
 * Ways to damage a running fleet, each with what the role must say about it. A damage is done by a command that an
 * operator, another program or an accident could run.
 */

import type { Race } from '../../race/release.js';
import { tableName } from '../../steer/plan.js';
import type { Lab } from '../lab.js';
import { mustRun, signal } from '../process.js';

export interface Damage {
  /** Unique; begins with the section of the catalogue of faults where it stands. */
  id: string;
  /** What is done, as a sentence without a subject. */
  what: string;
  /** The host that must say it. */
  host: string;
  /** Of the event that must come, once: `KIND SUBJECT MESSAGE`. */
  says: RegExp;
  damage(lab: Lab): Promise<unknown>;
  /** A person's part, where there is one; then {@link saysAgain} is said. */
  mend?(lab: Lab): Promise<unknown>;
  /** Of the event after {@link mend}. */
  saysAgain?: RegExp;
  /** Connections may fail until the mending, because nothing else could carry them. */
  isOutage?: boolean;
}

/** Damages that need the same laboratory. */
export interface Scene {
  name: string;
  configuration: 'A' | 'B' | 'C';
  fastpath: 'auto' | 'stack' | 'off';
  /** By default `learned`. */
  race?: Race;
  /** Changes a host's role file as the laboratory would write it. */
  edit?: (host: string, file: Record<string, unknown>) => Record<string, unknown>;
  damages: readonly Damage[];
}

const table = (lab: Lab, host: string): string => tableName(lab.roles.instanceOf(host));

/** A shell command on a host. `$TABLE` is the role's nftables table, `$PINS` its directory in bpffs. */
const shell =
  (host: string, script: string) =>
  async (lab: Lab): Promise<void> => {
    const instance = lab.roles.instanceOf(host);
    const env = `TABLE='${table(lab, host)}' PINS='${lab.state.bpfDirectory}/firstack/${instance}'`;
    const { status, stderr } = await lab.exec(host, ['sh', '-ec', `export ${env}; ${script}`]);
    if (status !== 0) throw new Error(`${host}: ${script}: ${stderr}`);
  };

const repaired = (subject: string): RegExp => new RegExp(`^repaired .*${subject}.*put back$`);

/** What a role set on its host and can put back, on any host. @param tun its TUN @param marks the rule's preference */
function ownThings(host: string, tun: string, pref: string): Damage[] {
  return [
    {
      ...{ id: `S3.${host}.flush-ruleset`, what: 'flushes every nftables rule', host },
      says: /^repaired .*nftables table.*was removed by nft \(process \d+\): put back$/,
      damage: shell(host, 'nft flush ruleset'),
    },
    {
      ...{ id: `S3.${host}.delete-table`, what: "deletes the role's nftables table", host },
      says: repaired('nftables table'),
      damage: shell(host, 'nft delete table inet $TABLE'),
    },
    {
      ...{ id: `S3.${host}.flush-chain`, what: "flushes a chain of the role's table", host },
      says: repaired('nftables table .*was changed'),
      damage: shell(host, 'nft flush chain inet $TABLE prerouting'),
    },
    {
      ...{ id: `S3.${host}.delete-rule`, what: "deletes the role's policy rule", host },
      says: repaired('ip rule'),
      damage: shell(host, `ip rule del pref ${pref}`),
    },
    {
      ...{ id: `S3.${host}.flush-route`, what: "empties the role's routing table", host },
      says: repaired('ip route'),
      damage: shell(
        host,
        `ip route flush table $(ip -N rule show | sed -n 's/^${pref}:.*lookup //p' | head -1)`,
      ),
    },
    {
      ...{ id: `S3.${host}.tun-down`, what: 'sets the TUN down', host },
      says: repaired(tun),
      damage: shell(host, `ip link set ${tun} down`),
    },
    {
      ...{ id: `S3.${host}.tun-address`, what: "deletes the TUN's address", host },
      says: repaired(tun),
      damage: shell(host, `ip address flush dev ${tun}`),
    },
    {
      ...{ id: `S3.${host}.rp-filter`, what: 'sets rp_filter of the TUN to strict', host },
      says: repaired('rp_filter'),
      damage: shell(host, `sysctl -qw net.ipv4.conf.${tun}.rp_filter=1`),
    },
    {
      ...{ id: `S4.${host}.forwarding-off`, what: 'turns forwarding off', host, isOutage: true },
      says: /^problem .*FSA_FORWARDING_OFF/,
      damage: shell(host, 'sysctl -qw net.ipv4.ip_forward=0'),
      mend: shell(host, 'sysctl -qw net.ipv4.ip_forward=1'),
      saysAgain: /^mended .*ip_forward/,
    },
    {
      ...{
        id: `S4.${host}.forward-drop`,
        what: 'adds a forward chain that drops everything',
        host,
        isOutage: true,
      },
      says: /^problem .*FSA_FORWARD_DROPS/,
      damage: shell(
        host,
        'nft add table inet fw; nft "add chain inet fw f { type filter hook forward priority 0; policy drop; }"',
      ),
      mend: shell(host, 'nft delete table inet fw'),
      saysAgain: /^mended .*forward chain/,
    },
  ];
}

const hook = (host: string, device: string, direction: string): Damage => ({
  ...{ id: `B4.${host}.clsact-${device}`, what: `deletes the clsact qdisc of ${device}`, host },
  says: repaired(`tc ${direction} hook`),
  damage: shell(host, `tc qdisc del dev ${device} clsact`),
});

const pins = (host: string, what: 'maps' | 'hooks'): Damage => ({
  ...{ id: `B4.${host}.pins-${what}`, what: `deletes the pinned ${what} in bpffs`, host },
  says: repaired(what),
  // The directory is the laboratory's own, and not visible from a shell in another mount namespace.
  damage: (lab) =>
    mustRun(['rm', '-r', `${lab.state.bpfDirectory}/firstack/${lab.roles.instanceOf(host)}/${what}`]),
});

const REPLICA = 'r2';

/** The service's address on a replica's loopback, which only configurations B and C need. */
const serviceAddress: Damage = {
  ...{ id: 'B5.replica.service-address', what: "deletes the service's address from lo", host: REPLICA },
  says: /^problem .*FSA_ADDRESS_NOT_LOCAL/,
  damage: shell(REPLICA, 'ip address del 203.0.113.10/32 dev lo'),
  mend: shell(REPLICA, 'ip address add 203.0.113.10/32 dev lo'),
  saysAgain: /^mended .*203\.0\.113\.10/,
};

/** Rules of other software that a pinned packet would pass over: the fast path is chosen again. */
const rulesOfOthers = (id: string, what: string, table: string, rules: string, how: string): Damage => ({
  ...{ id, what, host: 'gateway' },
  says: new RegExp(`^fastpath .*fastpath ${how}: `),
  damage: shell('gateway', `nft -f - <<'RULES'\ntable ${table} {\n${rules}\n}\nRULES`),
  mend: shell('gateway', `nft delete table ${table}`),
  saysAgain: /^fastpath .*fastpath on: /,
});

const BESIDE_OTHERS: readonly Damage[] = [
  rulesOfOthers(
    'B3.gateway.raw',
    'adds a rule that blocks one client in raw prerouting',
    'ip blocks',
    'chain raw { type filter hook prerouting priority -310; ip saddr 192.0.2.66 drop; }',
    'stack',
  ),
  rulesOfOthers(
    'S4.gateway.forward-rule',
    'adds a rule that blocks one client to the forward chain',
    'inet fw',
    'chain f { type filter hook forward priority 0; ip saddr 192.0.2.66 drop; }',
    'stack',
  ),
  rulesOfOthers(
    'B1.gateway.forward-tracked',
    'adds a forward chain that lets only tracked packets back',
    'inet fw',
    'chain f { type filter hook forward priority 0; policy drop; iifname "fsgw" accept; oifname "fsgw" accept; ct state established,related accept; iifname "lan0" oifname "wan0" accept; }',
    'off',
  ),
  rulesOfOthers(
    'B2.gateway.masquerade',
    'translates sources on the WAN',
    'ip nat',
    'chain post { type nat hook postrouting priority 100; oifname "wan0" masquerade; }',
    'off',
  ),
];

/** On the WAN between the hosts: packets with this match are lost. */
const lostInWan = (match: string): Pick<Damage, 'damage' | 'mend'> => ({
  damage: shell(
    'wan',
    `nft -f - <<'RULES'\ntable inet lossy {\nchain f { type filter hook prerouting priority 0; ${match} drop; }\n}\nRULES`,
  ),
  mend: shell('wan', 'nft delete table inet lossy'),
});

/** Where the laboratory keeps its Redis. */
const redis = (name: NodeJS.Signals) => async (lab: Lab) => signal(lab.state.find('redis')!, name);

const OF_FLEET: readonly Damage[] = [
  {
    ...{ id: 'S9.gateway.registry-frozen', what: 'stops the process of Redis', host: 'gateway' },
    says: /^registry-lost /,
    damage: redis('SIGSTOP'),
    mend: redis('SIGCONT'),
    saysAgain: /^registry-back /,
  },
  {
    ...{ id: 'S2.r2.killed', what: "kills a replica's role", host: 'gateway' },
    says: /^machine r2 machine r2 has left/,
    damage: (lab) => lab.killRole(REPLICA),
    mend: async (lab) => lab.startRole(REPLICA),
    saysAgain: /^machine r2 machine r2/,
  },
  {
    ...{ id: 'S10.origin.server', what: "stops the origin's web server", host: 'origin' },
    says: /^server-down .*203\.0\.113\.10/,
    damage: async (lab) => lab.webServer('server').pause(),
    mend: async (lab) => lab.webServer('server').resume(),
    saysAgain: /^server-up /,
  },
];

const silentReplica = (id: string, what: string, match: string): Damage => ({
  ...{ id, what, host: 'gateway' },
  says: /^silent .*r2/,
  ...lostInWan(match),
  saysAgain: /^answers-again .*r2/,
});

/** Judged by what they do: the gateway's file has short times for trials, so that the way back is seen. */
const judged = (host: string, file: Record<string, unknown>): Record<string, unknown> => {
  if (host === 'gateway') return { ...file, judge: { trialMs: 1000, mostTrialMs: 2000 } };
  if (host !== 'origin') return file;
  const services = file.services as Record<string, unknown>[];
  return { ...file, services: services.map((s) => ({ ...s, health: { http: 'http://{server}/' } })) };
};

const ofHost = (list: readonly Damage[], ...without: string[]): Damage[] =>
  list.filter((d) => !without.some((w) => d.id.endsWith(w)));

export const SCENES: readonly Scene[] = [
  {
    ...{ name: 'A in the kernel', configuration: 'A', fastpath: 'auto' },
    damages: [
      ...ownThings('gateway', 'fsgw', '7411'),
      hook('gateway', 'lan0', 'ingress'),
      hook('gateway', 'wan0', 'ingress'),
      pins('gateway', 'maps'),
      pins('gateway', 'hooks'),
      ...ownThings('origin', 'fsor', '7412'),
    ],
  },
  {
    ...{ name: 'A beside others', configuration: 'A', fastpath: 'auto', edit: judged },
    damages: [...BESIDE_OTHERS, ...OF_FLEET],
  },
  {
    ...{
      name: 'A raced by the gateway',
      configuration: 'A',
      fastpath: 'auto',
      race: 'gateway',
      edit: judged,
    },
    damages: [
      {
        ...{
          id: 'S1.r2.data-lost',
          what: 'loses the data of a machine, but not its SYN-ACKs',
          host: 'gateway',
        },
        says: /^ejected .*r2/,
        ...lostInWan('ip saddr 198.18.12.2 meta length > 100'),
        saysAgain: /^back .*r2/,
      },
      silentReplica('S6.r2.cut-off', 'loses every packet of a machine', 'ip saddr 198.18.12.2 tcp sport 80'),
    ],
  },
  {
    ...{
      name: 'C raced by the gateway',
      configuration: 'C',
      fastpath: 'auto',
      race: 'gateway',
      edit: judged,
    },
    damages: [
      silentReplica(
        'S6.r2.protocol-4',
        'loses packets of protocol 4 to a machine',
        'ip daddr 198.18.12.2 ip protocol 4',
      ),
    ],
  },
  {
    ...{ name: 'C in the kernel', configuration: 'C', fastpath: 'auto' },
    damages: [
      ...ofHost(ownThings(REPLICA, 'fsre', '5'), 'never').map((d) => ({ ...d, isOutage: false })),
      hook(REPLICA, 'wan0', 'egress'),
      pins(REPLICA, 'maps'),
      serviceAddress,
    ],
  },
  {
    ...{ name: 'C on the TUN', configuration: 'C', fastpath: 'off' },
    damages: ofHost(ownThings('gateway', 'fsgw', '7411'), 'tun-address', 'forwarding-off'),
  },
];
