/**
 * Attaches hooks to interfaces with `tc` and detaches them. Each attachment is recorded under the run directory, so
 * that the next start after a kill finds it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { forgetRecord, RUN_DIRECTORY } from '../steer/record.js';
import { attempt, attemptBatch, batch, command } from '../steer/tools.js';
import type { Attachment } from './maps.js';

const RECORD = 'fastpath.json';

/** `tc` keeps one protocol per preference. Those of instances are below 2^15, as preferences of policy rules are. */
const IPV6_PREF = 0x8000;

interface Filter {
  interface: string;
  direction: string;
  handle: string;
  /** Absent in a record of an earlier version. */
  ipv6?: boolean;
}

const prefOf = (f: Pick<Filter, 'ipv6'>, pref: number): number => (f.ipv6 === true ? pref + IPV6_PREF : pref);
const protocolOf = (f: Pick<Filter, 'ipv6'>): string => (f.ipv6 === true ? 'ipv6' : 'ip');

interface Attached {
  pref: number;
  filters: Filter[];
  /** Interfaces whose clsact qdisc this instance added. */
  clsact: string[];
}

export class Filters {
  readonly #record: string;

  /** @param pref preference of the filters; each instance has its own */
  constructor(
    readonly instance: string,
    readonly pref: number,
  ) {
    this.#record = `${RUN_DIRECTORY}/${instance}/${RECORD}`;
  }

  /** Whether a predecessor's attachments are recorded. */
  get areLeft(): boolean {
    return this.#read() !== undefined;
  }

  /**
   * Attaches the hooks to their interfaces. A predecessor's hooks are replaced without a gap; those that are no
   * longer wanted are removed.
   * @param pathOf the path at which an attachment's hook is pinned
   */
  async attach(
    attachments: readonly Attachment[],
    handles: Readonly<Record<string, string>>,
    pathOf: (a: Attachment) => string,
  ): Promise<void> {
    const before = this.#read();
    const standing = attachments.length === 0 ? new Set<string>() : await withClsact();
    const names = [...new Set(attachments.map((a) => a.interface))];
    const added = names.filter((name) => !standing.has(name));
    const now: Attached = {
      pref: this.pref,
      filters: attachments.map((a) => ({
        ...{ interface: a.interface, direction: a.direction },
        ...{ handle: handles[a.hook], ipv6: a.ipv6 === true },
      })),
      clsact: [...new Set([...(before?.clsact ?? []), ...added])],
    };
    this.#write(now);
    await batch('tc', [
      ...added.map((name) => ['qdisc', 'add', 'dev', name, 'clsact']),
      ...attachments.map((a) => [
        ...['filter', 'replace', 'dev', a.interface, a.direction, 'pref', String(prefOf(a, this.pref))],
        ...['handle', handles[a.hook], 'protocol', protocolOf(a)],
        ...['bpf', 'da', 'object-pinned', pathOf(a)],
      ]),
    ]);
    const isWanted = (f: Filter): boolean =>
      before!.pref === now.pref &&
      now.filters.some(
        (n) =>
          n.interface === f.interface &&
          n.direction === f.direction &&
          n.handle === f.handle &&
          n.ipv6 === (f.ipv6 === true),
      );
    await removeFilters(
      (before?.filters ?? []).filter((f) => !isWanted(f)),
      before?.pref ?? 0,
    );
  }

  /** Attachments whose filter is not there, on interfaces that exist. */
  async missing(
    attachments: readonly Attachment[],
    handles: Readonly<Record<string, string>>,
  ): Promise<Attachment[]> {
    const out: Attachment[] = [];
    for (const a of attachments) {
      const found = await filtersOf(a);
      if (found === undefined) continue;
      const isThere = found.some(
        (f) => f.pref === prefOf(a, this.pref) && Number(f.options?.handle) === Number(handles[a.hook]),
      );
      if (!isThere) out.push(a);
    }
    return out;
  }

  /** Detaches the hooks, a predecessor's too. Does nothing when there are none. */
  async detach(): Promise<void> {
    const left = this.#read();
    await removeFilters(left?.filters ?? [], left?.pref ?? 0);
    const unused: string[] = [];
    for (const name of left?.clsact ?? []) if (!(await hasFilters(name))) unused.push(name);
    await attemptBatch(
      'tc',
      unused.map((name) => ['qdisc', 'del', 'dev', name, 'clsact']),
    );
    forgetRecord(this.instance, RECORD);
  }

  #read(): Attached | undefined {
    try {
      return JSON.parse(readFileSync(this.#record, 'utf8')) as Attached;
    } catch {
      return undefined;
    }
  }

  #write(attached: Attached): void {
    mkdirSync(`${RUN_DIRECTORY}/${this.instance}`, { recursive: true, mode: 0o755 });
    writeFileSync(this.#record, JSON.stringify(attached));
  }
}

/** The filters at an attachment's place; undefined when its interface does not exist. */
async function filtersOf(
  a: Attachment,
): Promise<{ pref: number; options?: { handle?: string } }[] | undefined> {
  try {
    const text = await command('tc', ['-j', 'filter', 'show', 'dev', a.interface, a.direction]);
    return JSON.parse(text === '' ? '[]' : text);
  } catch {
    return (await attempt('ip', ['link', 'show', 'dev', a.interface])) ? [] : undefined;
  }
}

/** The interfaces that have a clsact qdisc. */
async function withClsact(): Promise<Set<string>> {
  const listed = await command('tc', ['qdisc', 'show']);
  return new Set([...listed.matchAll(/^qdisc clsact .* dev (\S+)/gm)].map(([, name]) => name));
}

async function hasFilters(name: string): Promise<boolean> {
  const show = ['ingress', 'egress'].map((direction) => `filter show dev ${name} ${direction}\n`);
  try {
    return (await command('tc', ['-force', '-batch', '-'], show.join(''))).trim() !== '';
  } catch {
    // The interface, or its clsact, no longer exists.
    return false;
  }
}

async function removeFilters(filters: readonly Filter[], pref: number): Promise<void> {
  await attemptBatch(
    'tc',
    filters.map((f) => [
      ...['filter', 'del', 'dev', f.interface, f.direction],
      ...['pref', String(prefOf(f, pref)), 'protocol', protocolOf(f), 'handle', f.handle, 'bpf'],
    ]),
  );
}
