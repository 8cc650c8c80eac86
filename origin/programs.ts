/** The origin's programs, one line each. */
import type { ProgramEntry } from '../src/program.js';

export const programs: readonly ProgramEntry[] = [
  { name: 'race', program: () => import('./race/program.js'), commands: () => import('./race/commands.js') },
  {
    name: 'routing',
    program: () => import('./routing/program.js'),
    commands: () => import('./routing/commands.js'),
  },
];
