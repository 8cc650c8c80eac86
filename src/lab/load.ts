/** `firstack load --lab NAME`: the generator on the laboratory's client, against its first service. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import { argumentsOf, type LoadOptions, readSettings } from '../load/options.js';
import { labExec } from './commands.js';
import { requireRoot } from './lab.js';
import { cliScript } from './paths.js';
import { LabState } from './state.js';

export interface LabLoadOptions extends LoadOptions {
  lab: string;
  /** Path to request instead of a file of random bytes, which is the same on every machine and has a known hash. */
  path?: string;
}

/** Several segments, and still quick to hash. */
const FILE_BYTES = 64 * 1024;

/**
 * @returns as `load`
 * @throws FirstackError FSA_USAGE, FSA_PERMISSION, FSA_LAB_UNKNOWN
 */
export async function labLoad(url: string | undefined, options: LabLoadOptions): Promise<number> {
  const { lab: name, path, ...more } = options;
  if (url !== undefined) throw new FirstackError('FSA_USAGE', `load: ${url}, or --lab ${name}?`);
  requireRoot();
  const state = LabState.existing(name);
  const target = `http://${serviceOf(state)}`;
  // Checks all options here too, so that no process is started that would refuse them.
  readSettings(`${target}/`, more);
  const own = path === undefined && more.mode !== 'connect' && !more.verify && more.sha256 === undefined;
  const file = own ? provideFile(state) : { path: path ?? '/', sha256: more.sha256 };
  const command = [
    process.execPath,
    cliScript,
    'load',
    `${target}/${file.path.replace(/^\//, '')}`,
    ...argumentsOf({ ...more, sha256: file.sha256 }),
  ];
  return labExec({ name, host: 'client', command });
}

/** ADDRESS:PORT */
function serviceOf({ record }: LabState): string {
  const [service] = record.services;
  if (service === undefined)
    throw new FirstackError('FSA_USAGE', `laboratory '${record.name}' has no service`);
  return `${service.address}:${service.ports[0]}`;
}

/** A file that every web server of the laboratory serves; made once. */
function provideFile(state: LabState): { path: string; sha256: string[] } {
  const directory = `${state.directory}/blob`;
  const file = `${directory}/load-${FILE_BYTES}`;
  if (!existsSync(file)) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(`${file}.${process.pid}`, randomBytes(FILE_BYTES));
    renameSync(`${file}.${process.pid}`, file);
  }
  const hash = createHash('sha256').update(readFileSync(file)).digest('hex');
  return { path: `/blob/load-${FILE_BYTES}`, sha256: [hash] };
}
