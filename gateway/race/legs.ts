/** The crossings of the forward hook by a gateway's packets, for what other software's rules say about them. */
import { inBothFamilies, type Leg } from '../../src/steer/ruleset.js';
import { isV6Text } from '../../src/wire/address.js';
import type { GatewayConfig } from './config.js';

/** Packets of IPv6 are carried in a gateway's own races only (`steering.ts`). */
export const mayCarryV6 = ({ race, prefixes }: Pick<GatewayConfig, 'race' | 'prefixes'>): boolean =>
  race !== 'origin' && prefixes.some(isV6Text);

/** Of packets that go to the TUN and come from it. */
export function tunLegs({ lan, wan, tun }: GatewayConfig): Leg[] {
  return lan.flatMap((l) =>
    wan.flatMap((w) => [
      { iif: l, oif: tun.name },
      { iif: tun.name, oif: w },
      { iif: w, oif: tun.name },
      { iif: tun.name, oif: l },
    ]),
  );
}

/** Of packets that hooks translated and left to the stack. */
export function translatedLegs(config: GatewayConfig): Leg[] {
  const { lan, wan } = config;
  const legs = lan.flatMap((l) =>
    wan.flatMap((w) => [
      { iif: l, oif: w, isShared: true },
      { iif: w, oif: l, isShared: true },
    ]),
  );
  return mayCarryV6(config) ? inBothFamilies(legs) : legs;
}
