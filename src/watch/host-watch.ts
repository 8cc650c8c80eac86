/**
 * Looks at the host for all programs of a role: at all of it whenever the kernel tells of a change, and every half
 * minute; every few seconds only at what changes without a message, which are sysctls, iptables-legacy and bpffs.
 */
import type { Logger } from '../log.js';
import { type Host, inspectHost, lookAgain } from '../steer/host.js';
import { isOwn } from '../steer/tools.js';
import { type Author, Netlink } from './netlink.js';

/** Looks without a cause. */
const PERIOD_MS = 3000;
/** Looks without a cause at all of the host: a dozen processes, which would be the most that an idle role does. */
const WHOLE_PERIOD_MS = 30_000;
/** Several changes of one command are one look. */
const SETTLE_MS = 50;
/** The least time between two looks, so that a host whose routes change all the time is not searched all the time. */
const REST_MS = 1000;

/** What a look found. */
export interface Look {
  host: Host;
  /** Whether all was looked at; otherwise only what changes without a message of the kernel. */
  isWhole: boolean;
  /** Whether another program may have changed nftables rules since the look before. */
  rulesetChanged: boolean;
  /** The last other process that changed nftables rules since the look before. */
  by: Author | undefined;
}

export class HostWatch {
  #netlink: Netlink | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #isWanted = false;
  /** The host at the last look at all of it, and when that was. */
  #host: Host | undefined;
  #wholeAt = Number.NEGATIVE_INFINITY;
  #changes = 0;
  #rulesetChanged = false;
  #by: Author | undefined;
  #stopped = false;
  /** Why the host cannot be looked at; '' when it can. */
  problem = '';

  /** @param onLook called after each look; looks do not overlap */
  constructor(
    readonly onLook: (look: Look) => void,
    readonly log: Pick<Logger, 'warn'>,
  ) {}

  start(): void {
    try {
      this.#netlink = new Netlink({
        changed: () => this.#soon(),
        ruleset: (by) => {
          if (by !== undefined && isOwn(by.pid)) return;
          this.#rulesetChanged = true;
          this.#by = by;
          this.#soon();
        },
      });
    } catch (error) {
      this.log.warn(
        { error: (error as Error).message },
        `changes of this host are noticed every ${PERIOD_MS / 1000} s only`,
      );
    }
    this.#arm(PERIOD_MS);
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#isWanted = false;
      this.#looking = this.#look().finally(() => {
        this.#looking = undefined;
        this.#arm(this.#isWanted ? REST_MS : PERIOD_MS);
      });
    }, ms);
  }

  /** Looks at everything soon; once more after a look in progress. */
  #soon(): void {
    this.#host = undefined;
    this.#changes++;
    if (this.#isWanted) return;
    this.#isWanted = true;
    if (this.#looking !== undefined) return;
    this.#arm(Math.max(SETTLE_MS, REST_MS - (performance.now() - this.#lookedAt)));
  }

  async #look(): Promise<void> {
    this.#lookedAt = performance.now();
    const [rulesetChanged, by] = [this.#rulesetChanged, this.#by];
    this.#rulesetChanged = false;
    this.#by = undefined;
    try {
      const before = this.#lookedAt - this.#wholeAt < WHOLE_PERIOD_MS ? this.#host : undefined;
      const isWhole = before === undefined || this.#netlink === undefined;
      const changes = this.#changes;
      const host = isWhole ? await inspectHost() : await lookAgain(before);
      if (isWhole) this.#wholeAt = this.#lookedAt;
      // What changed during a look may have been seen or not.
      this.#host = changes === this.#changes ? host : undefined;
      this.problem = '';
      if (!this.#stopped) this.onLook({ host, isWhole, rulesetChanged, by });
    } catch (error) {
      this.#host = undefined;
      this.#rulesetChanged ||= rulesetChanged;
      this.#by ??= by;
      const why = `this host cannot be looked at: ${(error as Error).message.split('\n')[0]}`;
      if (this.problem !== why) this.log.warn(why);
      this.problem = why;
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#netlink?.close();
    await this.#looking;
  }
}
