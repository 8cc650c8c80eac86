/**
 * Routes that stand in a kernel table of their own, from which the operator's routing daemon (BIRD, FRR) exports them.
 * No rule leads to the table, so that the routes forward nothing here.
 */
import { isV6Text } from '../wire/address.js';
import { attempt, command } from './tools.js';

/** The routes' protocol number, by which this role knows its own (`ip route … proto`). */
const PROTOCOL = '79';
/** How often it is looked whether what should stand still does. */
const LOOK_MS = 3000;

export class Advertised {
  /** What stands, as far as this process knows; undefined before the first look. */
  #standing: ReadonlySet<string> | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #busy: Promise<void> = Promise.resolve();

  constructor(readonly table: number) {}

  get routes(): string[] {
    return [...(this.#standing ?? [])].sort();
  }

  /** Makes exactly these prefixes stand. What a predecessor left, and what another program took away, is put right. */
  apply(prefixes: readonly string[]): Promise<void> {
    this.#busy = this.#busy.then(() => this.#apply(new Set(prefixes)));
    return this.#busy;
  }

  async #apply(wanted: ReadonlySet<string>): Promise<void> {
    const before = this.#standing;
    const isSame = before?.size === wanted.size && [...wanted].every((prefix) => before.has(prefix));
    if (isSame && performance.now() - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = performance.now();
    const standing = await this.#list();
    for (const prefix of standing) if (!wanted.has(prefix)) await attempt('ip', this.#route('del', prefix));
    for (const prefix of wanted)
      if (!standing.has(prefix)) await command('ip', this.#route('replace', prefix));
    this.#standing = wanted;
  }

  #route(verb: string, prefix: string): string[] {
    const family = isV6Text(prefix) ? '-6' : '-4';
    return [family, 'route', verb, 'blackhole', prefix, 'table', String(this.table), 'proto', PROTOCOL];
  }

  /** The routes of both families: a table has the same number in each. */
  async #list(): Promise<Set<string>> {
    const both = await Promise.all(['-4', '-6'].map((family) => this.#listFamily(family)));
    return new Set(both.flat());
  }

  async #listFamily(family: string): Promise<string[]> {
    let text = '[]';
    try {
      const table = ['show', 'table', String(this.table), 'proto', PROTOCOL];
      text = await command('ip', [family, '-j', 'route', ...table]);
    } catch {
      // The kernel has no such table before its first route.
    }
    const routes = JSON.parse(text.trim() === '' ? '[]' : text) as { dst: string }[];
    return routes.map(({ dst }) => (dst.includes('/') ? dst : `${dst}/${family === '-6' ? 128 : 32}`));
  }

  async remove(): Promise<void> {
    await this.apply([]);
  }
}
