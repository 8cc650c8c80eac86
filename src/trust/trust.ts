/** Whom a role believes: what its role file says about identities. */
import { wallMs } from '../device/wall-clock.js';
import { type Identity, readIdentity } from './identity.js';

export interface Trust {
  identity: Identity;
  /** Whether records without authority are left out; false while a fleet is being given identities. */
  refuses: boolean;
}

/** @throws FirstackError FSA_CONFIG_*, FSA_KEY_INVALID, FSA_CREDENTIAL */
export function trustOf(role: {
  identityFile?: string;
  unsignedRecords: 'refuse' | 'accept';
}): Trust | undefined {
  const { identityFile, unsignedRecords } = role;
  if (identityFile === undefined) return undefined;
  return { identity: readIdentity(identityFile, wallMs()), refuses: unsignedRecords === 'refuse' };
}
