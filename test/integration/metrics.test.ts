// The table in deploy/metrics.md, the alert rules and the dashboard against /metrics of running roles. `promtool` checks
// the rules too where it is installed.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ask } from '../../src/lab/admin-client.js';
import { Lab } from '../../src/lab/lab.js';
import { packageRoot } from '../../src/lab/paths.js';
import { run, waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { RoutedLab } from '../../src/lab/routed/lab.js';
import { freshName } from './lab-support.js';

const read = (file: string): string => readFileSync(`${packageRoot}/deploy/${file}`, 'utf8');
const RULES = 'alerts/firstack.rules.yaml';

interface Family {
  type: string;
  help: string;
  labels: Set<string>;
  hosts: Set<string>;
}

/** By name, of all roles together. */
const families = new Map<string, Family>();
let lab: Lab;

async function scrape(host: string): Promise<string> {
  return (await ask(lab.roles.adminSocket(host), '/metrics'))!.body;
}

function take(host: string, text: string): void {
  for (const line of text.split('\n').filter((l) => l !== '')) {
    const help = /^# HELP (\S+) (.+)$/.exec(line);
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    const sample = /^(\w+)(?:\{(.*)\})? (-?[\d.e+-]+)$/.exec(line);
    // A histogram's lines have its name and a suffix.
    const name = (help ?? type ?? sample)?.[1].replace(/_(bucket|sum|count)$/, '');
    expect(name, line).toBeDefined();
    const family = families.get(name!) ?? { type: '', help: '', labels: new Set(), hosts: new Set() };
    families.set(name!, family);
    family.hosts.add(host);
    if (help !== null) family.help = help[2];
    if (type !== null) family.type = type[2];
    for (const [, label] of (sample?.[2] ?? '').matchAll(/(\w+)="/g)) family.labels.add(label);
  }
}

beforeAll(async () => {
  lab = await Lab.create({ name: freshName(), seed: 1, configuration: 'C', race: 'learned' });
  expect((await requestMany(lab, 20, 4)).filter((r) => !r.ok)).toEqual([]);
  const isCounted = async (): Promise<boolean> => {
    const text = await scrape('gateway');
    return ['firstack_machine_total{', 'firstack_path_mtu_bytes{'].every((name) => text.includes(name));
  };
  expect(await waitUntil(isCounted, 10_000, 200)).toBe(true);
  for (const host of ['gateway', 'origin', 'r2']) take(host, await scrape(host));
  await takeRouted();
}, 120_000);
afterAll(async () => {
  await lab?.down();
});

/** The other program of the roles origin and replica. */
async function takeRouted(): Promise<void> {
  const shares = { interface: 'wan0', rateMbit: 1000, classes: [{ name: 'a', share: 50, virtual: ['web'] }] };
  const routed = await RoutedLab.create({
    name: freshName(),
    shape: { networks: 1, systems: 0, sites: 1, servers: 1 },
    edit: ({ level }, file) => (level === 'site' ? { ...file, shares } : file),
  });
  try {
    const text = async (host: string): Promise<string> =>
      (await ask(routed.adminSocket(host), '/metrics'))!.body;
    // The policy has looked at what the member says.
    const isKnown = async (): Promise<boolean> =>
      (await text('t1')).includes('firstack_routing_member_cost{');
    expect(await waitUntil(isKnown, 10_000, 100)).toBe(true);
    take('origin', await text('t1'));
    take('r2', await text('s1'));
  } finally {
    await routed.down();
  }
}

/** The metrics that an expression names, with the labels by which it chooses or groups. */
function namesOf(expr: string): { name: string; labels: string[] }[] {
  return [...expr.matchAll(/(firstack_\w+?)(?:_bucket)?\b(?:\{([^}]*)\})?/g)].map(
    ([, name, chosen = '']) => ({
      name,
      labels: [...chosen.matchAll(/(\w+)\s*[=!]/g)].map((m) => m[1]),
    }),
  );
}

function expectKnown(expr: string): void {
  const used = namesOf(expr);
  expect(used.length, expr).toBeGreaterThan(0);
  for (const { name, labels } of used) {
    expect([...families.keys()], expr).toContain(name);
    for (const label of labels) expect([...families.get(name)!.labels], `${expr}: ${label}`).toContain(label);
  }
  // Prometheus adds the labels instance and job to what a role says.
  const known = new Set(['instance', 'job', ...used.flatMap((u) => [...families.get(u.name)!.labels])]);
  for (const [, list] of expr.matchAll(/\bby \(([^)]*)\)/g))
    for (const label of list.split(/,\s*/)) expect([...known], `${expr}: by ${label}`).toContain(label);
  const open = [...expr].reduce((n, c) => n + (c === '(' ? 1 : c === ')' ? -1 : 0), 0);
  expect(open, expr).toBe(0);
}

describe('the table of metrics', () => {
  const rows = [
    ...read('metrics.md').matchAll(/^\| `(firstack_\w+)` \| (\w+) \|([^|]*)\|([^|]*)\| [^|]+ \|$/gm),
  ];

  it('has each family of each role, with its type and labels, and no other', () => {
    expect(rows.map((r) => r[1]).sort()).toEqual([...families.keys()].sort());
    for (const [, name, type, , labels] of rows) {
      const family = families.get(name)!;
      expect([name, type]).toEqual([name, family.type]);
      expect(family.help, name).not.toBe('');
      const told = [...labels.matchAll(/`(\w+)`/g)].map((m) => m[1]).sort();
      expect([name, told]).toEqual([name, [...family.labels].sort()]);
    }
  });

  it('says which roles have it', () => {
    for (const [, name, , told] of rows) {
      const roles = told.trim();
      const hosts =
        roles === 'all' ? ['gateway', 'origin', 'r2'] : roles.replace('replica', 'r2').split(', ');
      expect([name, [...families.get(name)!.hosts].sort()]).toEqual([name, hosts.sort()]);
    }
  });
});

describe('the alert rules', () => {
  const { groups } = parse(read(RULES)) as { groups: { name: string; rules: Rule[] }[] };
  interface Rule {
    alert: string;
    expr: string;
    for: string;
    labels: { severity: string };
    annotations: { summary: string; runbook: string };
  }
  const rules = groups.flatMap((g) => g.rules);

  it('have names, expressions of known metrics and labels, a duration, a severity, a summary and a line to run', () => {
    expect(new Set(rules.map((r) => r.alert)).size).toBe(rules.length);
    for (const r of rules) {
      expect(r.alert).toMatch(/^Firstack[A-Za-z]+$/);
      expectKnown(r.expr);
      expect(r.for, r.alert).toMatch(/^\d+[smh]$/);
      expect(['critical', 'warning', 'info'], r.alert).toContain(r.labels.severity);
      expect(r.annotations.summary, r.alert).toMatch(/\S/);
      expect(r.annotations.runbook, r.alert).toMatch(/firstack |chronyc |redis-cli /);
      const told = [...r.annotations.summary.matchAll(/\$labels\.(\w+)/g)].map((m) => m[1]);
      const grouped = /\bby \(([^)]*)\)/.exec(r.expr)?.[1].split(/,\s*/);
      const has = grouped ?? ['instance', ...families.get(namesOf(r.expr)[0].name)!.labels];
      for (const label of told) expect(has, `${r.alert}: $labels.${label}`).toContain(label);
    }
  });

  it('choose counters that there are', async () => {
    const text = await Promise.all(['gateway', 'origin', 'r2'].map(scrape));
    const has = (label: string, value: string): boolean =>
      text.some((t) => t.includes(`${label}="${value}"`));
    for (const { expr } of rules)
      for (const [, label, values] of expr.matchAll(/(\w+)=~?"([^"]+)"/g))
        for (const value of values.split('|'))
          expect([label, value, has(label, value)]).toEqual([label, value, true]);
  });

  it('pass promtool where it is installed', async () => {
    const found = await run(['sh', '-c', 'command -v promtool']);
    if (found.status !== 0) {
      process.stderr.write('promtool is not in PATH: the rules were checked by the tests above only\n');
      return;
    }
    const { status, stdout, stderr } = await run([
      'promtool',
      'check',
      'rules',
      `${packageRoot}/deploy/${RULES}`,
    ]);
    expect([status, stdout + stderr]).toEqual([0, expect.stringContaining('SUCCESS')]);
  });
});

describe('the dashboard', () => {
  interface Panel {
    id: number;
    title: string;
    gridPos: { x: number; y: number; w: number; h: number };
    targets: { expr: string }[];
  }
  const { panels, title } = JSON.parse(read('alerts/dashboard.json')) as { panels: Panel[]; title: string };

  it('shows known metrics, and every one of them', () => {
    expect(title).toBe('firstack');
    expect(new Set(panels.map((p) => p.id)).size).toBe(panels.length);
    const exprs = panels.flatMap((p) => p.targets.map((t) => t.expr));
    for (const expr of exprs) expectKnown(expr);
    const shown = new Set(exprs.flatMap((e) => namesOf(e).map((u) => u.name)));
    expect([...families.keys()].filter((name) => !shown.has(name))).toEqual([]);
  });

  it('has panels that fit into the grid, and do not overlap', () => {
    const taken = new Set<string>();
    for (const { title: name, gridPos: g } of panels) {
      expect(g.x + g.w, name).toBeLessThanOrEqual(24);
      for (let x = g.x; x < g.x + g.w; x++)
        for (let y = g.y; y < g.y + g.h; y++) {
          expect(taken.has(`${x} ${y}`), `${name} at ${x} ${y}`).toBe(false);
          taken.add(`${x} ${y}`);
        }
    }
  });
});
