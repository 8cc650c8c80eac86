/**
 * The data half of a server in service-level routing: opens the tunnels of the routers above, so that the local server
 * gets each packet as its client sent it. Answers go to the client directly, as the virtual host.
 */
import { KernelPrefixes } from '../../src/fastpath/prefixes.js';
import { PrefixTable } from '../../src/flow/prefix-table.js';
import type { Pipeline, PipelineContext } from '../../src/pipeline/pipeline.js';
import { Reassembler } from '../../src/pipeline/reassemble.js';
import { validateBoth } from '../../src/pipeline/validate.js';
import { writeSource, writeSource6 } from '../../src/routing/kernel-source.js';
import type { Address, Prefix } from '../../src/wire/address.js';
import { openTunnels } from './open-tunnels.js';
import { reasons } from './reasons.js';

export interface ServerSnapshot {
  /** The virtual hosts and subnets. */
  hosts: Prefix[];
  /** Where tunnels may come from. */
  routers: Prefix[];
  /** This server's address, and that of the router above which gets back what belongs to no connection here; or none. */
  address: Address;
  giveBackTo: Address | null;
  /** The same of IPv6. */
  address6: Address | null;
  giveBackTo6: Address | null;
  /** Whether every router above is known: only then what a predecessor knew is forgotten. */
  isWhole: boolean;
}

export interface ServerTables {
  readonly hosts: PrefixTable;
  readonly routers: PrefixTable;
}

export function createPipeline(context: PipelineContext<object>): Pipeline<ServerSnapshot> {
  const tables: ServerTables = { hosts: new PrefixTable(), routers: new PrefixTable() };
  const { kernel } = context;
  const inKernel =
    kernel === undefined
      ? undefined
      : { hosts: new KernelPrefixes(kernel.hosts), routers: new KernelPrefixes(kernel.routers) };
  const entries = (prefixes: readonly Prefix[]) => prefixes.map((prefix) => ({ prefix, value: 1 }));
  return {
    reasons: reasons.names,
    gauges: [],
    load: ({ hosts, routers, isWhole, ...s }) => {
      if (kernel !== undefined) {
        writeSource(kernel.source, s.address, s.giveBackTo);
        writeSource6(kernel.source6, s.address6, s.giveBackTo6);
      }
      tables.hosts.load(entries(hosts));
      tables.routers.load(entries(routers));
      inKernel?.hosts.load(hosts, true);
      inKernel?.routers.load(routers, isWhole);
    },
    tick: () => {},
    stages: [validateBoth(new Reassembler(context.clock)), openTunnels(tables)],
  };
}
