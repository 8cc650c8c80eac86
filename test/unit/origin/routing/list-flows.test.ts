import { describe, expect, it } from 'vitest';
import { flowsText } from '../../../../origin/routing/ask.js';
import type { FlowRow, ListQuestion } from '../../../../origin/routing/list-flows.js';
import { routerMetrics } from '../../../../origin/routing/metrics.js';
import type { Listed } from '../../../../src/flow/listing.js';
import { type Address, parse } from '../../../../src/wire/address.js';
import { ip, tcp } from '../../../support/builder.js';
import { CLIENT, MEMBERS, SlrHarness, VIRTUAL } from '../../../support/slr.js';

const OTHER = '10.1.0.8';
const syn = (port: number, client = CLIENT) => ip(client, VIRTUAL, tcp(port, 80, 'S', { seq: 100 }));

describe('flows of a router', () => {
  const h = new SlrHarness();
  const sent = [syn(1000), syn(1001), syn(1002, OTHER)].map((p) => h.send(p)[0].dst);
  const list = (q: Partial<ListQuestion>): Listed<FlowRow> =>
    h.ask({ list: { from: 0, limit: 100, ...q } }) as Listed<FlowRow>;

  it('are listed with where they go, and why', () => {
    const { rows, next } = list({});
    expect(next).toBe(-1);
    expect(rows.map((r) => r.client).sort()).toEqual([`${CLIENT}:1000`, `${CLIENT}:1001`, `${OTHER}:1002`]);
    const row = rows.find((r) => r.client === `${CLIENT}:1000`)!;
    expect(row).toEqual({
      ...{ client: `${CLIENT}:1000`, service: `${VIRTUAL}:80`, protocol: 'tcp', target: sent[0] },
      ...{ member: MEMBERS.indexOf(sent[0] as never), state: 'opening', rule: 'chosen by its first packet' },
      ...{ idleMs: 0, bytes: 0, isPinned: false },
    });
  });

  it('are listed by client and by member, a part at a time', () => {
    expect(list({ client: parse(OTHER) as Address }).rows.map((r) => r.target)).toEqual([sent[2]]);
    const of = (n: number): string[] => list({ member: n as never }).rows.map((r) => r.target);
    expect([...of(0), ...of(1)].sort()).toEqual([...sent].sort());
    expect(new Set(of(0)).size).toBeLessThanOrEqual(1);
    const first = list({ limit: 2 });
    expect(first.rows).toHaveLength(2);
    expect(list({ from: first.next, limit: 100 }).rows).toHaveLength(1);
  });

  it('are told in a table, and their absence in a sentence', () => {
    const rows = list({ client: parse(OTHER) as Address }).rows.map((r) => ({ ...r, member: 's1' }));
    expect(flowsText(rows).split('\n')[1]).toMatch(
      new RegExp(`^${OTHER}:1002 +${VIRTUAL}:80 +tcp +s1 .*opening .*process .*chosen by its first packet`),
    );
    expect(flowsText([])).toBe('no such flow is known here');
  });
});

it('metrics tell of each member, by virtual host', () => {
  const standing = { load: 0.5, servers: 1, distance: 0, cost: 0.25, weight: 3, leftOut: '' };
  const families = routerMetrics(
    new Map([
      [
        'web',
        [
          { ...standing, id: 's1' },
          { ...standing, id: 's2', weight: 1, cost: Number.NaN, leftOut: 'the policy gives it no cost' },
        ],
      ],
    ]),
    [{ id: 's1', heardAt: 4000 } as never],
    5500,
  );
  const values = Object.fromEntries(
    families.map((f) => [
      f.name.replace('firstack_routing_member_', ''),
      f.samples.map((s) => [s.labels.member, 'value' in s ? s.value : undefined]),
    ]),
  );
  expect(values).toEqual({
    available: [
      ['s1', 1],
      ['s2', 0],
    ],
    share: [
      ['s1', 0.75],
      ['s2', 0.25],
    ],
    load: [
      ['s1', 0.5],
      ['s2', 0.5],
    ],
    cost: [['s1', 0.25]],
    heard_seconds: [['s1', 1.5]],
  });
});
