/** Where the laboratory's own files stand, from a built dist as well as from src (in the tests). */
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));

export const packageRoot = here.replace(/\/(dist\/)?src\/lab\/$/, '');
export const topologyDirectory = `${packageRoot}/src/lab/topologies`;
/** The roles and the emulator are processes of their own, always from the build. */
export const cliScript = `${packageRoot}/dist/src/cli.js`;
export const emulatorScript = `${packageRoot}/dist/src/lab/emulator-main.js`;

export const labRoot = '/run/firstack/lab';
/** Where the roles keep what they must undo; one directory per instance. */
export const instanceRoot = '/run/firstack';
export const namespaceRoot = '/run/netns';
