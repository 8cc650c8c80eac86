/**
 * BIRD on the highest routers and on `wan`: BGP with BFD. (BIRD's OSPF waits up to a second before it computes routes.)
 * Each router exports the kernel table in which its role lets the virtual hosts stand; `wan` spreads them over all
 * routers that advertise them.
 */
import { writeFileSync } from 'node:fs';
import { FirstackError } from '../../errors.js';
import { namespaceOf } from '../network.js';
import { inNamespace, mustRun, spawnLogged, tail, waitUntil } from '../process.js';
import type { RoutedLab } from './lab.js';

export const ADVERTISE_TABLE = 7480;
const AS_OF_WAN = 65_000;
const AS_OF_ROUTERS = 65_001;
const STARTED_MS = 20_000;
/** Detects a link that is cut within 150 ms. */
const BFD = 'min rx interval 50 ms; min tx interval 50 ms; idle tx interval 200 ms; multiplier 3;';

export async function startBird(lab: RoutedLab): Promise<void> {
  const tops = lab.hosts.filter((h) => h.level === lab.hosts[0].level).map((h) => h.name);
  for (const name of tops) start(lab, name, routerConfiguration(lab, name));
  start(lab, 'wan', wanConfiguration(lab, tops));
  const isThere = async (): Promise<boolean> =>
    (await routesOf(lab)) >= tops.length && (await isWatched(lab, tops.length));
  if (!(await waitUntil(isThere, STARTED_MS, 200)))
    throw new FirstackError(
      'FSA_LAB_FAILED',
      `BIRD brought no routes:\n${tail(`${lab.directory}/bird-wan.log`)}`,
    );
}

/** The routers over which `wan` spreads the virtual host. */
export async function routesOf(lab: RoutedLab): Promise<number> {
  const { stdout } = await lab.exec('wan', ['ip', 'route', 'show', '203.0.113.80']);
  return (stdout.match(/via 198\.18\./g) ?? []).length;
}

async function isWatched(lab: RoutedLab, count: number): Promise<boolean> {
  const { stdout } = await lab.exec('wan', [
    'birdc',
    '-s',
    `${lab.directory}/bird-wan.ctl`,
    'show',
    'bfd',
    'sessions',
  ]);
  return (stdout.match(/ Up /g) ?? []).length >= count;
}

function start(lab: RoutedLab, host: string, configuration: string): void {
  const at = `${lab.directory}/bird-${host}`;
  writeFileSync(`${at}.conf`, configuration);
  const argv = inNamespace(namespaceOf(lab.name, host), [
    'bird',
    '-f',
    '-c',
    `${at}.conf`,
    '-s',
    `${at}.ctl`,
  ]);
  lab.state.noteProcess(`bird-${host}`, spawnLogged(argv, `${at}.log`).pid);
}

function routerConfiguration(lab: RoutedLab, name: string): string {
  return `router id ${lab.address(name)};
protocol device {}
protocol bfd { interface "wan0" { ${BFD} }; }
# The role's own table: it is read, and nothing is written to it.
ipv4 table hosts4;
protocol kernel {
  kernel table ${ADVERTISE_TABLE};
  learn;
  scan time 1;
  ipv4 { table hosts4; import all; export none; };
}
protocol pipe { table hosts4; peer table master4; import none; export all; }
protocol bgp {
  local as ${AS_OF_ROUTERS};
  neighbor ${lab.address(name).replace(/2$/, '1')} as ${AS_OF_WAN};
  bfd yes;
  ipv4 { import none; export where source = RTS_INHERIT; next hop self; };
}
`;
}

const neighbour = (address: string): string => `protocol bgp {
  local as ${AS_OF_WAN};
  neighbor ${address} as ${AS_OF_ROUTERS};
  bfd yes;
  connect delay time 1;
  ipv4 { import all; export none; };
}
`;

function wanConfiguration(lab: RoutedLab, tops: readonly string[]): string {
  const links = tops.map((t) => `"to-${t}"`).join(', ');
  return `router id 198.18.255.1;
protocol device {}
protocol bfd { interface ${links} { ${BFD} }; }
protocol kernel {
  merge paths on;
  ipv4 { import none; export where source = RTS_BGP; };
}
${tops.map((t) => neighbour(lab.address(t))).join('')}`;
}

/** Cuts a router's link in the middle, without a word to either end: packets are lost both ways. */
export async function cutLink(lab: RoutedLab, host: string, devices = [`to-${host}`]): Promise<void> {
  const chains = devices.flatMap((device, n) =>
    ['ingress', 'egress'].map(
      (hook) => `  chain ${hook}${n} { type filter hook ${hook} device "${device}" priority -500; drop; }\n`,
    ),
  );
  await mustRun(
    inNamespace(namespaceOf(lab.name, 'wan'), ['nft', '-f', '-']),
    `table netdev cut {\n${chains.join('')}}\n`,
  );
}

export async function mendLink(lab: RoutedLab): Promise<void> {
  await mustRun(inNamespace(namespaceOf(lab.name, 'wan'), ['nft', 'delete', 'table', 'netdev', 'cut']));
}
