/**
 * The registry's interface: the fleet's present state, and the records of this role. Two implementations: `redis.ts`
 * for a fleet, `file.ts` for a fixed set. No packet ever waits for either.
 */
import type { RecordKind, View } from './kinds.js';

export interface Registry {
  readonly kind: 'redis' | 'file';
  /** Replaced as a whole at each change; the last known view while the registry is lost. */
  readonly view: View;
  readonly connected: boolean;
  /** Milliseconds since the view was last confirmed. */
  readonly viewAgeMs: number;
  /** The reason why it is not connected, for `/readyz`; undefined while it is. */
  readonly problem: string | undefined;
  /** Records that count for nothing, by key, each with the reason. */
  readonly refused: Readonly<Record<string, string>>;
  /** This host's wall clock less the registry's; undefined where the registry has no clock. */
  readonly clockOffsetMs: number | undefined;
  /**
   * Reads the first view.
   * @throws FirstackError FSA_REGISTRY_UNAVAILABLE (69), FSA_REGISTRY_REFUSED, FSA_REGISTRY_TLS, FSA_CONFIG_*
   */
  start(): Promise<void>;
  /**
   * From now on only these topics are followed, and in the view. Before the first call: all kinds that do not come in
   * parts.
   * @param topics names of kinds, or `KIND:PART`
   */
  follow(topics: readonly string[]): Promise<void>;
  /** Publishes a record of this role, now and with every heartbeat until {@link stop}. */
  publish<T>(kind: RecordKind<T>, record: T): void;
  /**
   * Called when another machine holds an identity of this role: once per heartbeat, for as long as it does.
   * @param isRefused this role must not run, because the other one was there first
   */
  onContested(callback: (contest: { name: string; other: string; isRefused: boolean }) => void): void;
  /** Called after each change of the view or of `connected`. */
  onChange(callback: () => void): void;
  /** Withdraws this role's records, except lasting ones, and closes the connection. */
  stop(): Promise<void>;
}
