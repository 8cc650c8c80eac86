/** Packages for the tests, unpacked: the last release, made from the git history, and this checkout. */
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { delimiter } from 'node:path';
import { packageRoot } from '../../src/lab/paths.js';
import { mustRun, run } from '../../src/lab/process.js';

/** The release from which an upgrade starts. */
export const LAST_RELEASE = '951ab2e';

interface Lockfile {
  packages: Record<string, { version?: string; integrity?: string; optional?: boolean }>;
}

/**
 * The PATH without the entries that npm adds for its scripts, so that the host's own node is found, not the shipped
 * one.
 */
const PATH = (process.env.PATH ?? '')
  .split(delimiter)
  .filter((directory) => !directory.endsWith('node_modules/.bin'))
  .join(delimiter);

/**
 * Makes the package of the last release as it was made then: with the host's node, which was shipped in it.
 * @returns its installed tree (…/usr/lib/firstack), under `directory`
 */
export async function lastRelease(directory: string): Promise<string> {
  const sources = `${directory}/release`;
  await takeOut(LAST_RELEASE, sources);
  if (locksAgree(sources)) symlinkSync(`${packageRoot}/node_modules`, `${sources}/node_modules`);
  else await inHostsShell(sources, 'npm ci --ignore-scripts --no-audit --no-fund --loglevel=error');
  return unpack(`${sources}/${await inHostsShell(sources, 'sh deploy/package.sh')}`, `${directory}/old`);
}

/** @returns the installed tree of this checkout's package, under `directory` */
export async function thisCheckout(directory: string): Promise<string> {
  return unpack(
    `${packageRoot}/${await inHostsShell(packageRoot, 'npm run -s package')}`,
    `${directory}/new`,
  );
}

/** @throws Error when the history does not contain the release */
async function takeOut(commit: string, into: string): Promise<void> {
  const { status } = await run(['git', '-C', packageRoot, 'cat-file', '-e', `${commit}^{commit}`]);
  if (status !== 0)
    throw new Error(
      `the upgrade is tested from commit ${commit}, which the git history here does not hold: ` +
        'clone with the whole history (git fetch --unshallow)',
    );
  mkdirSync(into);
  await mustRun(['sh', '-c', `git -C ${packageRoot} archive ${commit} | tar -x -C ${into}`]);
}

/** Whether all packages of the release's lockfile are installed here in the same version. */
function locksAgree(sources: string): boolean {
  const read = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Lockfile;
  const { packages: then } = read(`${sources}/package-lock.json`);
  const { packages: now } = read(`${packageRoot}/package-lock.json`);
  return Object.entries(then).every(
    ([path, { integrity, optional }]) =>
      path === '' ||
      optional === true ||
      (now[path]?.integrity === integrity && existsSync(`${packageRoot}/${path}`)),
  );
}

async function unpack(deb: string, into: string): Promise<string> {
  await mustRun(['dpkg-deb', '-x', deb, into]);
  return `${into}/usr/lib/firstack`;
}

/** @returns its output, without the newline at its end */
async function inHostsShell(directory: string, command: string): Promise<string> {
  const output = await mustRun(['env', `PATH=${PATH}`, 'sh', '-c', `cd '${directory}' && ${command}`]);
  return output.trim();
}
