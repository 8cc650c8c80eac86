/**
 * The registry's interface: what the fleet looks like now, and what this role says of itself. Two kinds:
 * `redis.ts` for a fleet, `file.ts` for a fixed set. No packet ever waits for either.
 */
import type { RecordKind, View } from './kinds.js';

export interface Registry {
  readonly kind: 'redis' | 'file';
  /** Replaced as a whole at each change; the last one known when the registry is lost. */
  readonly view: View;
  readonly connected: boolean;
  /** Milliseconds since the view was last confirmed. */
  readonly viewAgeMs: number;
  /** What is wrong while it is not connected, for `/readyz`; undefined while it is. */
  readonly problem: string | undefined;
  /** This host's wall clock less the registry's; undefined where the registry has none. */
  readonly clockOffsetMs: number | undefined;
  /**
   * Reads the first view.
   * @throws FirstackError FSA_REGISTRY_UNAVAILABLE (69), FSA_REGISTRY_REFUSED, FSA_REGISTRY_TLS, FSA_CONFIG_*
   */
  start(): Promise<void>;
  /**
   * From here on only these are followed, and in the view. Until then: all kinds that do not come in parts.
   * @param topics names of kinds, or `KIND:PART`
   */
  follow(topics: readonly string[]): Promise<void>;
  /** States a record of this role's own, now and with every heartbeat until {@link stop}. */
  publish<T>(kind: RecordKind<T>, record: T): void;
  /** Called after each change of the view or of `connected`. */
  onChange(callback: () => void): void;
  /** Withdraws this role's own records, but lasting ones, and closes. */
  stop(): Promise<void>;
}
