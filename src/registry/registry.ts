/**
 * The registry's interface: what the fleet looks like now, and what this role says of itself. Two kinds:
 * `redis.ts` for a fleet, `file.ts` for a fixed set. No packet ever waits for either.
 */
import type { Kind, Records, View } from './records.js';

export interface Registry {
  readonly kind: 'redis' | 'file';
  /** Replaced as a whole at each change; the last one known when the registry is lost. */
  readonly view: View;
  readonly connected: boolean;
  /** Milliseconds since the view was last confirmed. */
  readonly viewAgeMs: number;
  /**
   * Reads the first view.
   * @throws FirstackError FSA_REGISTRY_UNAVAILABLE (69), FSA_REGISTRY_REFUSED, FSA_CONFIG_*
   */
  start(): Promise<void>;
  /** States a record of this role's own, now and with every heartbeat until {@link stop}. */
  publish<K extends Kind>(kind: K, record: Records[K]): void;
  /** Called after each change of the view or of `connected`. */
  onChange(callback: () => void): void;
  /** Withdraws this role's own records (but services) and closes. */
  stop(): Promise<void>;
}
