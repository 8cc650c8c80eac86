/** Who makes tags of which version: the gateways of a view as their tags' receivers know them (`keyring.ts`), and a gateway itself. */
import { gatewayKeys, type KeyFile } from '../keys.js';
import type { View } from '../registry/kinds.js';
import { credentialOf } from '../registry/verifier.js';
import { type Prefix, parsePrefix } from '../wire/address.js';
import { VERSION, WHOLE_EPOCH } from '../wire/tag.js';
import type { KeyringGateway } from './keyring.js';
import { gatewayKind, originKind, replicaKind } from './records.js';

/** @param onlySigned whether only signed records count: then a gateway with an identity makes tags of version 2 */
export function tagSenders(view: View, master: KeyFile, onlySigned: boolean): KeyringGateway[] {
  return view.of(gatewayKind).map((g) => ({
    id: g.id,
    prefixes: g.prefixes.map((p) => parsePrefix(p) as Prefix),
    keys: gatewayKeys(master, g.id),
    leastVersion: onlySigned && credentialOf(g) !== undefined ? WHOLE_EPOCH : VERSION,
  }));
}

/**
 * The version of a gateway's own tags: 2 where every machine that reads them has an identity, and so a version of the
 * software that knows it.
 */
export function tagVersion(view: View, hasIdentity: boolean): number {
  const readers = [...view.of(replicaKind), ...view.of(originKind)];
  return hasIdentity && readers.every((r) => credentialOf(r) !== undefined) ? WHOLE_EPOCH : VERSION;
}
