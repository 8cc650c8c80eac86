/**
 * Routes that stand in a kernel table of their own, from which the operator's routing daemon (BIRD, FRR) exports them.
 * No rule leads to the table, so that the routes forward nothing here.
 */
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
    for (const prefix of standing)
      if (!wanted.has(prefix)) await attempt('ip', ['route', 'del', ...this.#route(prefix)]);
    for (const prefix of wanted)
      if (!standing.has(prefix)) await command('ip', ['route', 'replace', ...this.#route(prefix)]);
    this.#standing = wanted;
  }

  #route(prefix: string): string[] {
    return ['blackhole', prefix, 'table', String(this.table), 'proto', PROTOCOL];
  }

  async #list(): Promise<Set<string>> {
    let text = '[]';
    try {
      text = await command('ip', ['-j', 'route', 'show', 'table', String(this.table), 'proto', PROTOCOL]);
    } catch {
      // The kernel has no such table before its first route.
    }
    const routes = JSON.parse(text === '' ? '[]' : text) as { dst: string }[];
    return new Set(routes.map(({ dst }) => (dst.includes('/') ? dst : `${dst}/32`)));
  }

  async remove(): Promise<void> {
    await this.apply([]);
  }
}
