/** The flags that the race adds to `firstack origin`. */
import type { CommandLine } from '../../src/program.js';
import { configurationOption, raceOption, releaseOption } from '../../src/race/flags.js';

export function addCommands({ role }: CommandLine): void {
  role.addOption(configurationOption()).addOption(raceOption()).addOption(releaseOption());
}
