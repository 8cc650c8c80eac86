/** Where the gateway's hooks are attached. */
import type { Attachment } from '../../src/fastpath/maps.js';
import type { Host } from '../../src/steer/host.js';
import type { GatewayConfig } from './config.js';

export function attachments({ lan, wan, tun }: GatewayConfig, host: Host): Attachment[] {
  const on =
    (hook: string) =>
    (name: string): Attachment => ({
      interface: name,
      direction: 'ingress',
      hook,
      ethernet: host.interfaces.find((i) => i.name === name)?.ethernet !== false,
    });
  return [
    ...lan.map(on('gateway_lan')),
    ...wan.map(on('gateway_wan')),
    { interface: tun.name, direction: 'ingress', hook: 'gateway_tun', ethernet: false },
  ];
}
