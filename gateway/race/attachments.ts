/** Where the gateway's hooks are attached. */
import type { Attachment } from '../../src/fastpath/maps.js';
import type { Host } from '../../src/steer/host.js';
import type { GatewayConfig } from './config.js';
import { mayCarryV6 } from './legs.js';

export function attachments(config: GatewayConfig, host: Host): Attachment[] {
  const { lan, wan, tun } = config;
  const on =
    (hook: string) =>
    (name: string): Attachment => ({
      interface: name,
      direction: 'ingress',
      hook,
      ethernet: host.interfaces.find((i) => i.name === name)?.ethernet !== false,
    });
  const all: Attachment[] = [
    ...lan.map(on('gateway_lan')),
    ...wan.map(on('gateway_wan')),
    { interface: tun.name, direction: 'ingress', hook: 'gateway_tun', ethernet: false },
  ];
  return mayCarryV6(config) ? [...all, ...all.map((a) => ({ ...a, ipv6: true }))] : all;
}
