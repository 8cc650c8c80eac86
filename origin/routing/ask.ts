/** `firstack routes`: a service-level router's virtual hosts and members, as a table. */
import { askAdmin } from '../../src/admin/client.js';
import { EXIT } from '../../src/errors.js';
import { addressOf } from '../../src/operate/asked.js';
import { columns } from '../../src/operate/columns.js';
import type { Standing } from './costs.js';

interface Routes {
  level: string;
  id: string;
  policy: { cost: string; aggregate: string; selection: string };
  uppers: { where: string; id?: string; problem: string }[];
  members: { id: string; level: string; address: string; heardMsAgo: number }[];
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
  json: boolean;
}

export async function routes({ admin, lab, router, json }: RoutesOptions): Promise<number> {
  const answer = (await askAdmin(addressOf({ admin, lab }, 'origin', router), '/v1/routes')) as Routes;
  process.stdout.write(`${json ? JSON.stringify(answer, null, 2) : routesText(answer)}\n`);
  return EXIT.ok;
}

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
              member?.address ?? '',
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
