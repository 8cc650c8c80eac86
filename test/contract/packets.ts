/** The packet table: what every data plane must do with every kind of packet. See `row.ts`. */
import { errors } from './packets-errors.js';
import { fragments } from './packets-fragments.js';
import { gatewayCarry } from './packets-gateway-carry.js';
import { gatewayForeign } from './packets-gateway-foreign.js';
import { gatewayLearned } from './packets-gateway-learned.js';
import { gatewayRace } from './packets-gateway-race.js';
import { gatewayTag } from './packets-gateway-tag.js';
import { origin } from './packets-origin.js';
import { replica } from './packets-replica.js';
import type { Row } from './row.js';

export const PACKETS: readonly Row[] = [
  ...gatewayTag,
  ...gatewayRace,
  ...gatewayLearned,
  ...gatewayCarry,
  ...gatewayForeign,
  ...origin,
  ...replica,
  ...errors,
  ...fragments,
];
