/** Who makes tags of which version: the gateways of a view as their tags' receivers know them (`keyring.ts`), and a gateway itself. */
import { gatewayKeys, type KeyFile } from '../keys.js';
import type { View } from '../registry/kinds.js';
import { credentialOf, pairedCredentialOf } from '../registry/verifier.js';
import type { Credential } from '../trust/credential.js';
import type { PairKey, PairKeys } from '../trust/pair-keys.js';
import { coversNames } from '../trust/scope.js';
import { type Prefix, parsePrefix } from '../wire/address.js';
import { PAIRED, VERSION, WHOLE_EPOCH } from '../wire/tag.js';
import { actingKind, isGateway } from './acting.js';
import type { KeyringGateway } from './keyring.js';
import { gatewayKind, originKind, replicaKind } from './records.js';

/** What a machine that reads tags holds. */
export interface Receiver {
  /** The fleet's master keys; undefined where only tags with the keys of pairs are read. */
  master: KeyFile | undefined;
  pairs: PairKeys | undefined;
  /** Whether only signed records count: then a gateway with an identity makes tags of version 2 at least. */
  onlySigned: boolean;
}

export function tagSenders(view: View, { master, pairs, onlySigned }: Receiver): KeyringGateway[] {
  return view.of(gatewayKind).map((g) => {
    const credential = credentialOf(g);
    const isSigned = onlySigned && credential !== undefined;
    return {
      id: g.id,
      prefixes: g.prefixes.map((p) => parsePrefix(p) as Prefix),
      keys: master === undefined ? [] : gatewayKeys(master, g.id),
      pairs: credential === undefined ? [] : (pairs?.from(credential) ?? []),
      leastVersion: master === undefined ? PAIRED : isSigned ? WHOLE_EPOCH : VERSION,
    };
  });
}

/**
 * The credentials of the origins that act. A replica knows origins by these records, which are small: an origin's own has
 * its distance to each replica.
 */
export const originsOf = (view: View): Credential[] =>
  view.of(actingKind).flatMap((r) => (isGateway(r.id) ? [] : (credentialOf(r) ?? [])));

/** The keys with which a service's origins make tags for the replica that holds `pairs`. */
export const relayKeys = (view: View, service: string, pairs: PairKeys | undefined): PairKey[] =>
  originsOf(view).flatMap((origin) =>
    coversNames(origin, 'services', [service]) === '' ? (pairs?.from(origin) ?? []) : [],
  );

/** The key for tags and probes to the machine that made a record; undefined where it reads none of a pair. */
export function keyToward(record: unknown, pairs: PairKeys | undefined): PairKey | undefined {
  const credential = pairedCredentialOf(record);
  return credential === undefined ? undefined : pairs?.toward(credential);
}

/**
 * The version of a gateway's own tags with its own key: 2 where every machine that reads them has an identity, and so a
 * version of the software that knows it.
 */
export function tagVersion(view: View, hasIdentity: boolean): number {
  const readers = [...view.of(replicaKind), ...view.of(originKind)];
  return hasIdentity && readers.every((r) => credentialOf(r) !== undefined) ? WHOLE_EPOCH : VERSION;
}

/** Whether every machine reads tags of pairs: only then may an origin be sent one, which it makes anew for each replica. */
export const areAllPaired = (view: View): boolean =>
  [...view.of(replicaKind), ...view.of(originKind)].every((r) => pairedCredentialOf(r) !== undefined);
