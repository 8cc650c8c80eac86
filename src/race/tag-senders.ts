/** The gateways of a view, as the receivers of their tags know them (`keyring.ts`). */
import { gatewayKeys, type KeyFile } from '../keys.js';
import type { View } from '../registry/kinds.js';
import { credentialOf } from '../registry/verifier.js';
import { type Prefix, parsePrefix } from '../wire/address.js';
import { VERSION, WHOLE_EPOCH } from '../wire/tag.js';
import type { KeyringGateway } from './keyring.js';
import { gatewayKind } from './records.js';

/** @param onlySigned whether only signed records count: then a gateway with an identity makes tags of version 2 */
export function tagSenders(view: View, master: KeyFile, onlySigned: boolean): KeyringGateway[] {
  return view.of(gatewayKind).map((g) => ({
    id: g.id,
    prefixes: g.prefixes.map((p) => parsePrefix(p) as Prefix),
    keys: gatewayKeys(master, g.id),
    leastVersion: onlySigned && credentialOf(g) !== undefined ? WHOLE_EPOCH : VERSION,
  }));
}
