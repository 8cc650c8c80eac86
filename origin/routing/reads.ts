/** What an operator may ask a service-level router: its virtual hosts and members, its flows, the shares of its link. */
import { SLOTS } from '../../src/balance/slots.js';
import { type Listed, listAll } from '../../src/flow/listing.js';
import type { Run } from '../../src/program.js';
import type { HelloClient } from '../../src/routing/hello-client.js';
import type { HelloServer } from '../../src/routing/hello-server.js';
import { type Address, parse } from '../../src/wire/address.js';
import type { AccessLink } from './access-link.js';
import type { FlowAnswer } from './answer.js';
import type { SlrConfig } from './config.js';
import type { Standing } from './costs.js';
import type { FlowRow, ListQuestion } from './list-flows.js';
import type { MemberNumbers } from './member-numbers.js';

export interface Asked {
  config: SlrConfig;
  server: HelloServer;
  client: HelloClient;
  numbers: MemberNumbers;
  link: AccessLink;
  standings(): Map<string, Standing[]>;
  /** Asks the data half. @returns undefined while there is none */
  ask(question: unknown): Promise<unknown>;
}

const LIST_QUERY = {
  client: { type: 'string', format: 'ip' },
  member: { type: 'string' },
  limit: { type: 'integer', minimum: 1, maximum: 10_000, default: 100 },
};

/** ADDRESS:PORT; an IPv6 address stands in brackets. */
const END = { type: 'string', pattern: '^([0-9.]+|\\[[0-9a-f:]+\\]):[0-9]{1,5}$' };

const FLOW_QUERY = {
  client: END,
  service: END,
  protocol: { enum: ['tcp', 'udp'], default: 'tcp' },
};

type Query = Record<string, unknown>;

export const readsOf = (router: Asked): NonNullable<Run['reads']> => ({
  routes: { answer: () => routes(router) },
  flow: { query: FLOW_QUERY, answer: (query: Query) => flow(router, query) },
  flows: { query: LIST_QUERY, answer: (query: Query) => flows(router, query) },
  shares: { answer: async () => ({ classes: await router.link.counts() }) },
});

/** A member's name by its number. */
const nameOf = ({ server, numbers }: Asked, member: number | null | undefined): string | null =>
  [...server.members.keys()].find((m) => numbers.of(m) === member) ?? null;

async function flows(router: Asked, { client, member, limit }: Query): Promise<Query> {
  // A member that this router does not know has no flow here.
  if (member !== undefined && !router.server.members.has(String(member))) return { flows: [] };
  const filter = {
    ...(client === undefined ? {} : { client: parse(String(client)) as Address }),
    ...(member === undefined ? {} : { member: router.numbers.of(String(member)) }),
  };
  const rows = await listAll(Number(limit), async (from, most) => {
    const list: ListQuestion = { ...filter, from, limit: most };
    return (await router.ask({ list })) as Listed<FlowRow> | undefined;
  });
  return { flows: rows.map((row) => ({ ...row, member: nameOf(router, row.member) })) };
}

/** What this router knows of one flow: each level's router is asked by itself. */
async function flow(router: Asked, query: Query): Promise<Query> {
  const { level, id } = router.config;
  const found = (await router.ask(query)) as FlowAnswer | undefined;
  const names = (f: FlowAnswer) => ({
    member: nameOf(router, f.member),
    slotMember: nameOf(router, f.slotMember),
  });
  return {
    ...{ level, id },
    flow: found === undefined ? null : { ...found, ...names(found) },
    standings: Object.fromEntries(router.standings()),
  };
}

async function routes(router: Asked): Promise<Query> {
  const { level, id, policy, virtual } = router.config;
  const standings = router.standings();
  // What the data plane has now, by member's number.
  const slots = ((await router.ask('slots')) ?? []) as Record<number, number>[];
  const at = performance.now();
  return {
    level,
    id,
    policy,
    uppers: router.client.states,
    members: [...router.server.members.values()].map((m) => ({
      ...{ id: m.id, level: m.authority.level, address: m.address, address6: m.address6 },
      heardMsAgo: Math.round(at - m.heardAt),
      sinceMsAgo: Math.round(at - m.since),
    })),
    hosts: virtual.map(({ name, subnet, protocols, ports }, n) => {
      const share = (s: Standing): number => (slots[n]?.[router.numbers.of(s.id)] ?? 0) / SLOTS;
      const all = standings.get(name)!.map((s) => ({ ...s, share: share(s) }));
      return { name, subnet, protocols, ports, members: all };
    }),
  };
}
