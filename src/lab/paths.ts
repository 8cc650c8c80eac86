/** The paths of the laboratory's own files, both in a built dist and in src (for the tests). */
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

export const packageRoot = here.replace(/\/(dist\/)?src\/lab\/$/, '');
export const topologyDirectory = `${packageRoot}/src/lab/topologies`;
/** The roles and the emulator run as separate processes, always from the build. */
export const cliScript = `${packageRoot}/dist/src/cli.js`;
export const damageClientScript = `${packageRoot}/dist/src/lab/damage/client-main.js`;
export const strangerScript = `${packageRoot}/dist/src/lab/attacks/stranger-main.js`;
export const floodScript = `${packageRoot}/dist/src/lab/attacks/flood-main.js`;
export const narrowClientScript = `${packageRoot}/dist/src/lab/narrow/client-main.js`;
export const benchAgentScript = `${packageRoot}/dist/src/lab/bench/agent.js`;
export const datagramsScript = `${packageRoot}/dist/src/lab/routed/datagrams-main.js`;
export const survivorsScript = `${packageRoot}/dist/src/lab/routed/survivors-main.js`;
export const downloadsScript = `${packageRoot}/dist/src/lab/routed/downloads-main.js`;
export const membersScript = `${packageRoot}/dist/src/lab/routed/members-main.js`;
export const forgeScript = `${packageRoot}/dist/src/lab/routed/forge-main.js`;
export const latencyScript = `${packageRoot}/dist/src/lab/routed/latency-main.js`;
export const serverSideScript = `${packageRoot}/dist/src/lab/routed/server-side-main.js`;
export const udpScript = `${packageRoot}/dist/src/lab/routed/udp-main.js`;
export const farmScript = `${packageRoot}/dist/src/lab/farm-main.js`;
export const emulatorScript = `${packageRoot}/dist/src/lab/emulator-main.js`;

export const labRoot = '/run/firstack/lab';
/** The directory of the roles' records, one directory per instance. */
export const instanceRoot = '/run/firstack';
export const namespaceRoot = '/run/netns';
