/** `firstack routes`: a service-level router's virtual hosts and members, as a table. */
import { askAdmin } from '../../src/admin/client.js';
import { EXIT, FirstackError } from '../../src/errors.js';
import { addressOf } from '../../src/operate/asked.js';
import { columns } from '../../src/operate/columns.js';
import type { ShareCount } from '../../src/steer/shares.js';
import { isV6Text } from '../../src/wire/address.js';
import type { FlowAnswer } from './answer.js';
import type { Standing } from './costs.js';
import type { FlowRow } from './list-flows.js';

interface Routes {
  level: string;
  id: string;
  policy: { cost: string; aggregate: string; selection: string };
  uppers: { where: string; id?: string; problem: string }[];
  members: { id: string; level: string; address: string; address6?: string; heardMsAgo: number }[];
  hosts: {
    name: string;
    subnet: string;
    protocols: string[];
    ports: number[];
    members: (Standing & { share: number })[];
  }[];
}

interface RoutesOptions {
  admin?: string;
  lab?: string;
  router: string;
  flow?: string;
  to?: string;
  udp: boolean;
  flows: boolean;
  shares: boolean;
  client?: string;
  member?: string;
  limit: number;
  json: boolean;
}

/** @throws FirstackError FSA_USAGE for a flow without its virtual host */
export async function routes(o: RoutesOptions): Promise<number> {
  const { json } = o;
  const address = addressOf({ admin: o.admin, lab: o.lab }, 'origin', o.router);
  if (o.flow !== undefined) {
    if (o.to === undefined)
      throw new FirstackError('FSA_USAGE', '--flow CLIENT:PORT needs --to ADDRESS:PORT, the virtual host');
    const query = new URLSearchParams({ client: o.flow, service: o.to, protocol: o.udp ? 'udp' : 'tcp' });
    const explained = await askAdmin<Explained>(address, `/v1/flow?${query}`);
    process.stdout.write(`${json ? JSON.stringify(explained, null, 2) : explainedText(explained)}\n`);
    return explained.flow === null ? EXIT.expectation : EXIT.ok;
  }
  if (o.flows) {
    const query = new URLSearchParams({ limit: String(o.limit) });
    if (o.client !== undefined) query.set('client', o.client);
    if (o.member !== undefined) query.set('member', o.member);
    const { flows } = await askAdmin<{ flows: Listed[] }>(address, `/v1/flows?${query}`);
    process.stdout.write(`${json ? JSON.stringify(flows, null, 2) : flowsText(flows)}\n`);
    return EXIT.ok;
  }
  if (o.shares) {
    const { classes } = await askAdmin<{ classes: ShareCount[] }>(address, '/v1/shares');
    process.stdout.write(`${json ? JSON.stringify(classes, null, 2) : sharesText(classes)}\n`);
    return EXIT.ok;
  }
  const answer = (await askAdmin(address, '/v1/routes')) as Routes;
  process.stdout.write(`${json ? JSON.stringify(answer, null, 2) : routesText(answer)}\n`);
  return EXIT.ok;
}

interface Explained {
  level: string;
  id: string;
  flow:
    | (Omit<FlowAnswer, 'member' | 'slotMember'> & { member: string | null; slotMember: string | null })
    | null;
}

export function explainedText({ level, id, flow }: Explained): string {
  if (flow === null) return `${level} router ${id}: these are no ends of a flow`;
  const { member, target, rule, state, isPinned, slotMember, fromAbove, told } = flow;
  return [
    `${level} router ${id}: ${state}; its packets go to ${target}${member === null ? '' : ` (${member})`}: ${rule}.`,
    `${isPinned ? 'The kernel carries it.' : 'Its packets pass the process.'} Its slot stands for ${slotMember ?? 'no member'} now.`,
    ...(fromAbove
      ? [`It comes in a tunnel of a router above, which was told ${told} times where it goes.`]
      : []),
  ].join('\n');
}

type Listed = Omit<FlowRow, 'member'> & { member: string | null };

export function flowsText(flows: readonly Listed[]): string {
  if (flows.length === 0) return 'no such flow is known here';
  return columns(
    ['client', 'service', '', 'member', 'to', 'state', 'idle', 'carried by', 'why'],
    flows.map((f) => [
      ...[f.client, f.service, f.protocol, f.member ?? '-', f.target, f.state],
      `${(f.idleMs / 1000).toFixed(1)} s`,
      f.isPinned ? `kernel, ${f.bytes} bytes` : 'process',
      f.rule,
    ]),
  );
}

export function sharesText(classes: readonly ShareCount[]): string {
  if (classes.length === 0) return 'this router has no shares';
  return columns(
    ['class', 'sure of', 'bytes', 'packets', 'dropped'],
    classes.map((c) => [c.name, `${c.mbit} Mbit/s`, ...[c.bytes, c.packets, c.dropped].map(String)]),
  );
}

/** Where a virtual host's tunnels to a member end. */
const addressFor = (subnet: string, m: Routes['members'][number] | undefined): string =>
  (isV6Text(subnet) ? m?.address6 : m?.address) ?? '';

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

export function routesText({ level, id, policy, uppers, members, hosts }: Routes): string {
  const above = uppers.map((u) => (u.id === undefined ? `${u.where} (${u.problem})` : u.id)).join(', ');
  const lines = [
    `${level} router ${id}; above: ${above === '' ? 'none' : above}`,
    `cost: ${policy.cost}; selection: ${policy.selection}; said to the level above: ${policy.aggregate}`,
  ];
  for (const host of hosts) {
    const ports = host.ports.length === 0 ? 'all ports' : `ports ${host.ports.join(', ')}`;
    lines.push('', `${host.name}  ${host.subnet}  ${host.protocols.join(', ')}, ${ports}`);
    if (host.members.length === 0) lines.push('  no member says that it serves this');
    else
      lines.push(
        columns(
          ['  member', 'address', 'load', 'servers', 'distance', 'cost', 'share', 'heard', 'why'],
          host.members.map((m) => {
            const member = members.find((x) => x.id === m.id);
            return [
              `  ${m.id}`,
              addressFor(host.subnet, member),
              m.load.toFixed(2),
              String(m.servers),
              `${m.distance} ms`,
              m.cost === null || Number.isNaN(m.cost) ? '-' : m.cost.toFixed(3),
              percent(m.share),
              `${((member?.heardMsAgo ?? 0) / 1000).toFixed(1)} s ago`,
              m.leftOut === '' ? (m.share > 0 ? '' : 'another costs less') : m.leftOut,
            ];
          }),
        ),
      );
  }
  return lines.join('\n');
}
