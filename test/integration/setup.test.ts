// deploy/setup.sh, and the node with which it is started.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/lab/paths.js';
import { run } from '../../src/lab/process.js';

const directory = mkdtempSync(join(tmpdir(), 'firstack-setup-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs the set-up with a node of the given version; '' is a node that cannot be run. */
function setUpWith(version: string) {
  const node = join(directory, 'node');
  writeFileSync(node, version === '' ? '#!/bin/sh\nexit 127\n' : `#!/bin/sh\necho ${version}\n`);
  chmodSync(node, 0o755);
  const path = `PATH=${directory}:${process.env.PATH}`;
  return run(['env', path, 'sh', `${packageRoot}/deploy/setup.sh`, '--no-such-option']);
}

describe('set-up', () => {
  it.each([
    ['18.20.8', '18.20.8'],
    ['20.18.3', '20.18.3'],
    ['', 'none'],
  ])("refuses node '%s' with one line", async (version, found) => {
    const { status, stdout, stderr } = await setUpWith(version);
    expect([status, stdout, stderr]).toEqual([
      1,
      '',
      `setup: Node 20.19 or newer is needed; found: ${found}\n`,
    ]);
  });

  it.each(['20.19.0', '22.0.0', '24.21.0'])('accepts node %s', async (version) => {
    const { status, stderr } = await setUpWith(version);
    expect([status, stderr]).toEqual([2, 'setup: usage: setup.sh [--build-only]\n']);
  });
});
