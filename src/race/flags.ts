/** Command-line flags that several of the race's commands take. */
import { Option } from 'commander';
import { CONFIGURATIONS } from './records.js';
import { RACES, RELEASES } from './release.js';

export const configurationOption = (more: string[] = []): Option =>
  new Option(
    '--configuration <A|B|C>',
    'A: translate both ways, B: replicas spoof the origin, C: tunnel',
  ).choices([...CONFIGURATIONS, ...more]);

export const raceOption = (): Option =>
  new Option('--race <race>', 'which role sends the copies of a SYN').choices([...RACES]);

export const releaseOption = (): Option =>
  new Option(
    '--release <release>',
    'hold copies so that all arrive at once, or send them as published',
  ).choices([...RELEASES]);
