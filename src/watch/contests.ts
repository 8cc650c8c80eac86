/** Says that another machine holds an identity of this role: once, and again only after it has been quiet. */
import type { Events } from '../events/events.js';

/** How long a contest counts as present after it was last heard of. */
const QUIET_MS = 10_000;

export class Contests {
  readonly #heard = new Map<string, { at: number; reason: string }>();

  constructor(
    readonly events: Events,
    readonly now: () => number = () => performance.now(),
  ) {}

  /** @param refuse ends this role, because the other machine was there first */
  hear(contest: { name: string; other: string; isRefused: boolean }, refuse: () => void): void {
    const { name, other, isRefused } = contest;
    const host = other.split(' ')[0];
    const before = this.#heard.get(name);
    const reason = `FSA_IDENTITY_TAKEN: another machine (host ${host}) runs as ${name.replace(':', ' ')} too`;
    this.#heard.set(name, { at: this.now(), reason });
    if (isRefused) {
      this.events.say('error', 'identity-taken', name, `${reason}: this role ends`);
      refuse();
    } else if (before === undefined || this.now() - before.at > QUIET_MS)
      this.events.say('error', 'identity-contested', name, reason);
  }

  /** For `/readyz`. */
  get reasons(): string[] {
    return [...this.#heard.values()].filter((h) => this.now() - h.at <= QUIET_MS).map((h) => h.reason);
  }
}
