/** The line to run, or the file to look at, for what a role says of itself. Pure. */

/** Where the lines point to: what the role that said a sentence has told of itself. */
export interface Place {
  /** Its role file; a pattern where it is not known. */
  file: string;
  /** The URL of its registry, without a password. */
  registry: string;
  /** The address of its admin API. */
  admin: string;
}

export const NOWHERE: Place = { file: '/etc/firstack/*.yaml', registry: '', admin: '' };

/** A line to run for each sentence that does not end with its own. `FILE`, `REDIS`, `ASK` are replaced. */
const REMEDIES: readonly [RegExp, string][] = [
  [/FSA_FORWARDING_OFF/, 'sysctl -w net.ipv4.ip_forward=1'],
  [/FSA_INTERFACE_MISSING/, 'ip -br link; grep -n "^wan\\|^lan" FILE'],
  [/FSA_ADDRESS_NOT_LOCAL/, 'ip -br address; grep -n "^address" FILE'],
  [/FSA_SERVER_NOT_ADJACENT/, 'ip -br address; grep -n "servers" -A4 FILE'],
  [/FSA_MASQUERADE: (\S+ \S+ \S+) /, 'nft -a list chain $1   # let the services pass before it translates'],
  [/FSA_IDENTITY_TAKEN/, 'grep -n "^id:\\|gatewayId" FILE   # here and on the other host: one needs another'],
  [/FSA_ENDPOINT_TAKEN/, 'grep -n "^address\\|services" -A2 FILE'],
  [/FSA_PREFIX_OVERLAP/, 'grep -n -A5 "^prefixes" FILE   # here and on the other gateway'],
  [/FSA_CONFIGURATION_MISMATCH/, 'grep -n "^configuration" FILE; firstack status'],
  [/none of its services is published/, 'grep -n "services" -A3 FILE; firstack status'],
  [/OOM/, 'REDIS INFO memory   # maxmemory'],
  [/MISCONF/, 'REDIS INFO persistence   # its disk'],
  [/READONLY|NOREPLICAS/, 'REDIS INFO replication'],
  [/NOAUTH|WRONGPASS|NOPERM/, 'REDIS ACL LOG'],
  [/registry (lost|.* does not answer)/, 'REDIS ping'],
  [/clock is/, 'chronyc tracking; timedatectl'],
  [
    /again and again|could not be put back/,
    'firstack events --since 10m ASK; ip rule show; nft list ruleset',
  ],
  [/an operator requested it|drained:/, 'firstack replica resume ASK'],
  [/flows\.max/, 'grep -n "flows" -A2 FILE   # raise flows.max, and restart the role'],
  [/path to an origin/, 'firstack races --last 20 ASK   # what drops TCP options on the way to the origin?'],
  [/no tunnel probe is answered/, 'firstack paths ASK   # what drops IP protocol 4 on the way, or back?'],
  [/no plain probe is answered/, 'firstack paths ASK   # what drops UDP 7417 on the way, or back?'],
  [/does not answer probes/, 'ss -lunp "sport = 7417"   # on that machine; does a firewall drop UDP 7417?'],
  [/a flood\?/, 'firstack flows --limit 50 ASK   # which clients open connections and confirm none?'],
  [/records? (without|has no) authority/, 'firstack status ASK   # which records, and why'],
  [/FSA_SCOPE|FSA_CREDENTIAL/, 'grep -n identityFile FILE; firstack fleet show IDENTITY-FILE'],
  [/thread is stuck/, 'systemctl restart "firstack-*"; firstack events --since 10m ASK'],
];

/** A command that a message ends with is the line to run; else the line for its code. '' where there is none. */
export function remedyOf(message: string, place: Place = NOWHERE): string {
  const inside = /\(((?:nft|ip|sysctl|iptables-legacy) [^()]*(?:\{[^}]*\})?[^()]*)\)/.exec(message)?.[1];
  const told = /: (ip address add \S+ dev \S+)$/.exec(message)?.[1];
  if (inside !== undefined || told !== undefined) return inside ?? told!;
  for (const [pattern, line] of REMEDIES) {
    const found = pattern.exec(message);
    if (found !== null) return put(line.replace('$1', found[1] ?? ''), place);
  }
  return '';
}

const put = (line: string, { file, registry, admin }: Place): string =>
  line
    .replaceAll('FILE', file)
    .replaceAll('REDIS', redisLine(registry))
    .replaceAll(' ASK', admin === '' ? '' : ` --admin ${admin}`);

/** The beginning of a `redis-cli` line for a registry's URL. */
export function redisLine(url: string): string {
  const socket = /^redis\+unix:\/\/(?:[^@/]*@)?(\/[^?]+)/.exec(url)?.[1];
  if (socket !== undefined) return `redis-cli -s ${socket}`;
  const at = /^(rediss?)(\+sentinel)?:\/\/(?:.*@)?([^:/,]+)(?::(\d+))?/.exec(url);
  if (at === null) return 'redis-cli';
  const [, scheme, sentinel, host, port] = at;
  const tls = scheme === 'rediss' ? ' --tls' : '';
  return `redis-cli${tls} -h ${host} -p ${port ?? (sentinel === undefined ? 6379 : 26379)}`;
}
