/** The shares of a router's access link: classes by virtual host, put in place, watched and counted. */
import type { Metric } from '../../src/admin/metrics.js';
import { describeError, type Problem } from '../../src/errors.js';
import type { Site } from '../../src/program.js';
import { othersOn, type ShareCount, Shares, type SharesConfig, takenBy } from '../../src/steer/shares.js';
import type { SlrConfig } from './config.js';
import { shareMetrics } from './metrics.js';
import type { ShareEntry } from './shares-config.js';

/** Between two looks at what stands and what left. */
const LOOK_MS = 5000;

type Configured = Pick<SlrConfig, 'shares' | 'virtual'>;

export class AccessLink {
  readonly #shares = new Shares();
  #counts: ShareCount[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Why the classes could not be put back; '' where they stand. Said once. */
  #problem = '';

  constructor(
    readonly config: Configured,
    readonly site: Site,
  ) {}

  /** What another program has put on the link. */
  check(): Problem[] {
    const { shares } = this.config;
    const others = shares === undefined ? '' : othersOn(shares.interface);
    return others === '' ? [] : [takenBy(shares!.interface, others)];
  }

  /** @throws FirstackError FSA_STEERING_TAKEN */
  async start(): Promise<void> {
    await this.reload(this.config);
    await this.#look();
    this.#timer = setInterval(() => void this.#look(), LOOK_MS);
  }

  /** Changes the classes in place. */
  async reload(config: Configured): Promise<void> {
    const shares = sharesOf(config);
    await (shares === undefined ? this.#shares.remove() : this.#shares.apply(shares));
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#shares.remove();
  }

  counts(): Promise<ShareCount[]> {
    return this.#shares.counts();
  }

  metrics(): Metric[] {
    return shareMetrics(this.#counts);
  }

  async #look(): Promise<void> {
    const { events, log } = this.site;
    try {
      const put = await this.#shares.look();
      if (put !== '') events.say('warn', 'repair', put, 'the shares of the link were put back');
      this.#counts = await this.#shares.counts();
      this.#problem = '';
    } catch (error) {
      const problem = describeError(error).join('; ');
      if (problem !== this.#problem)
        log.error({ error: problem }, 'the shares of the access link were not set');
      this.#problem = problem;
    }
  }
}

/** The classes, with the subnets of their virtual hosts; undefined where none are configured. */
export function sharesOf({ shares, virtual }: Configured): SharesConfig | undefined {
  if (shares === undefined) return undefined;
  const plain = ({ name, share, virtual: names }: ShareEntry) => ({
    ...{ name, share, classes: [] },
    subnets: virtual.filter((v) => names.includes(v.name)).map((v) => v.subnet),
  });
  return {
    ...{ interface: shares.interface, rateMbit: shares.rateMbit },
    classes: shares.classes.map((c) => ({ ...plain(c), classes: c.classes.map(plain) })),
  };
}
