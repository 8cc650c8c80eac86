/**
 * Echo: a role sends UDP datagrams for its address and port back to their sender. This is the control half, for all
 * roles.
 */
import { type HookSet, settingsMap } from '../fastpath/maps.js';
import { ARRAY } from '../fastpath/native.js';
import type { Program } from '../program.js';
import type { RecordKind } from '../registry/kinds.js';
import { ipv4Schema, nameSchema, portSchema, recordSchema } from '../registry/kinds.js';
import { type ProgramConfig, programProperties } from '../role-config.js';
import { chain, interfaces, steerTo } from '../steer/plan.js';
import { type Address, parse } from '../wire/address.js';

interface EchoConfig extends ProgramConfig {
  address: string;
  echo: { address: string; port: number };
}
interface EchoRecord {
  v: 1;
  id: string;
  address: string;
}
export const echoKind: RecordKind<EchoRecord> = {
  name: 'echo',
  schemaOf: () => recordSchema(1, { id: nameSchema, address: ipv4Schema }, ['id', 'address']),
  idOf: (e) => e.id,
};
const hooks: HookSet = {
  object: 'echo',
  maps: [settingsMap, { name: 'datagrams', type: ARRAY, key: 4, value: 8, entries: 1 }],
  handles: { echo_in: '0x1' },
};

export const program: Program<EchoConfig> = {
  name: 'echo',
  number: 9,
  kinds: [echoKind],
  schema: (allocation) => ({
    properties: {
      ...programProperties(allocation),
      echo: {
        type: 'object',
        required: ['address', 'port'],
        properties: { address: ipv4Schema, port: portSchema },
      },
    },
    required: ['echo'],
  }),
  create({ echo: { address, port }, lan, wan, tun, steering }, { instance, role }) {
    let peers: () => readonly EchoRecord[] = () => [];
    let echoed = (): number => 0;
    const to = `iifname ${interfaces([...lan, ...wan])} ip daddr ${address} udp dport ${port}`;
    return {
      topics: ['echo'],
      plane: { module: new URL('./pipeline.js', import.meta.url), options: {}, holdSlots: 1, memory: {} },
      kernel: {
        hooks,
        attachments: () =>
          wan.map((name) => ({ interface: name, direction: 'ingress', hook: 'echo_in', ethernet: true })),
      },
      check: () => [],
      claims: () => [{ address, port, protocol: 'udp' }],
      duty: () => ({
        snapshot: { address: parse(address) as Address, port },
        tunMtu: 1500,
        steering: {
          ...{ instance, tun: tun.name, ...steering, tunnelMtu: undefined, sysctls: [] },
          // A replica's address is local, so its rule must stand before the local table's.
          ...(role === 'replica' ? { beforeLocal: true, priority: 6 } : { beforeLocal: false }),
          body: chain('prerouting', 'prerouting', 'filter', [
            `iifname "${tun.name}" notrack accept`,
            `${to} ${steerTo(steering)} notrack accept`,
          ]),
        },
      }),
      start: async ({ registry, plane }) => {
        peers = () => registry.view.of(echoKind);
        echoed = () => plane!.counters()['pass.echoed'];
        registry.publish(echoKind, { v: 1, id: instance, address });
      },
      status: () => ({ echoed: echoed() }),
      reads: { echoes: { answer: () => ({ echoed: echoed(), peers: peers().map((p) => p.id) }) } },
    };
  },
};
