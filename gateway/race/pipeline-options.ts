/** What the gateway's data half is started with: its key, its limits. */
import { FirstackError } from '../../src/errors.js';
import { readKeyFile } from '../../src/keys.js';
import type { GatewayConfig } from './config.js';
import type { GatewayPipelineOptions } from './state.js';

/** The most SYNs that wait for their hedge: one slot per SYN whose hedge has not fired yet. */
const HEDGES = 16384;
/** The most path probes that wait to be sent, for a moment. */
const PROBES = 512;

/** Slots of the queue in which packets wait. */
export const holdSlots = ({ race }: GatewayConfig): number => (race === 'learned' ? HEDGES : 0) + PROBES;

/** @throws FirstackError FSA_KEY_INVALID, FSA_CONFIG_* */
export function pipelineOptions(config: GatewayConfig): GatewayPipelineOptions {
  const { keyFile, gatewayId } = config.tag;
  const common = {
    flows: config.flows,
    openings: config.fastpath.openings,
    gatewayId,
    raceWidth: config.raceWidth,
  };
  if (keyFile === undefined) return { ...common, keyId: 0, key: [0, 0, 0, 0] };
  const file = readKeyFile(keyFile, 'gateway');
  if (file.gatewayId !== gatewayId)
    throw new FirstackError(
      'FSA_KEY_INVALID',
      `${keyFile}: is the key of gateway ${file.gatewayId}, tag.gatewayId is ${gatewayId}`,
    );
  const bytes = new DataView(Uint8Array.from(Buffer.from(file.keys[0].secret, 'hex')).buffer);
  return {
    ...common,
    keyId: file.keys[0].id,
    key: [0, 4, 8, 12].map((at) => bytes.getInt32(at, true)),
  };
}
