// Broken set-ups, one after another, each undone again: `firstack doctor` names the cause and the line to run, and
// finds nothing in a whole fleet before and after.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import { type Output, waitUntil } from '../../src/lab/process.js';
import { requestMany } from '../../src/lab/requests.js';
import { loadTopology, serversOf } from '../../src/lab/topology.js';
import type { Finding } from '../../src/operate/examine.js';
import { doctor, expectWhole, SETUPS, shell, WITHIN_MS } from './doctor-setups.js';
import { freshName, withLab } from './lab-support.js';

/** Waits until each of these is in the report. @returns the report */
async function expectFound(lab: Lab, ...causes: RegExp[]): Promise<string> {
  let last: Output | undefined;
  const isFound = async (): Promise<boolean> => {
    last = await doctor(lab);
    return last.status === 1 && causes.every((c) => c.test(last!.stdout));
  };
  expect(await waitUntil(isFound, WITHIN_MS, 200), `${causes}\n${last?.stdout}${last?.stderr}`).toBe(true);
  process.stderr.write(`${last!.stdout}\n`);
  return last!.stdout;
}

/** The findings that are there once this one is. A change takes a moment to settle. */
async function onlyFinding(lab: Lab, cause: RegExp): Promise<Finding> {
  await expectFound(lab, cause);
  let all: Finding[] = [];
  const isAlone = async (): Promise<boolean> => {
    all = (JSON.parse((await doctor(lab, '--json')).stdout) as Finding[]).filter((f) => f.isNote !== true);
    return all.length === 1;
  };
  expect(await waitUntil(isAlone, 10_000, 200), JSON.stringify(all, null, 1)).toBe(true);
  return all[0];
}

const FORWARD_DROP =
  'nft add table inet fw; nft "add chain inet fw f { type filter hook forward priority 0; policy drop; }"';
describe('under C, with two servers at the origin', () => {
  let lab: Lab;
  beforeAll(async () => {
    const topology = { ...loadTopology('replica-nearest'), servers: serversOf(2) };
    lab = await Lab.create({ name: freshName(), seed: 1, topology, configuration: 'C', race: 'learned' });
  });
  afterAll(async () => {
    await lab?.down();
  });

  it('nothing is wrong with a whole fleet', async () => {
    const { stdout } = await expectWhole(lab);
    expect(stdout).toBe('5 roles asked: nothing is wrong\n');
  });

  it.each(SETUPS)('$name', async ({ breaks, finds, isOneOfSeveral }) => {
    const undo = await breaks(lab);
    try {
      if (isOneOfSeveral === true) await expectFound(lab, finds);
      else await onlyFinding(lab, finds);
    } finally {
      await undo();
    }
    await expectWhole(lab);
  });

  it('the line that is printed for a forward chain that drops ends the finding', async () => {
    await shell(lab, 'gateway', FORWARD_DROP);
    const { run: line } = await onlyFinding(lab, /-gateway: FSA_FORWARD_DROPS: the forward chain inet fw f/);
    expect(line).toMatch(/^nft add rule inet fw f iifname/);
    await shell(lab, 'gateway', line);
    await expectWhole(lab);
    expect((await requestMany(lab, 5, 2)).filter((r) => !r.ok)).toEqual([]);
    await shell(lab, 'gateway', 'nft delete table inet fw');
    await expectWhole(lab);
  });

  it('rules that the fast path bypasses as asked are a note, and no finding', async () => {
    lab.roles.options.fastpath = 'on';
    await shell(
      lab,
      'gateway',
      'nft add table inet fw; nft "add chain inet fw f { type filter hook forward priority 0; }"; nft add rule inet fw f counter',
    );
    await lab.stopRole('gateway');
    lab.startRole('gateway');
    await lab.roles.waitUntilReady();
    const isNoted = async (): Promise<boolean> => {
      const { status, stdout } = await doctor(lab);
      return (
        status === 0 &&
        /^note: .*-gateway: fastpath on, as asked: .*bypass inet fw f\n {4}grep /m.test(stdout)
      );
    };
    expect(await waitUntil(isNoted, WITHIN_MS, 200)).toBe(true);
    await shell(lab, 'gateway', 'nft delete table inet fw');
    lab.roles.options.fastpath = 'auto';
    const isGone = async (): Promise<boolean> => !(await expectWhole(lab)).stdout.includes('bypass');
    expect(await waitUntil(isGone, WITHIN_MS, 200)).toBe(true);
  });
});

describe('under A, with races of the gateway', () => {
  it('masquerading turns the fast path off, which is a note', async () => {
    await withLab({ topology: 'replica-nearest', configuration: 'A', race: 'learned' }, async (lab) => {
      await shell(
        lab,
        'gateway',
        'nft add table ip fw; nft "add chain ip fw nat { type nat hook postrouting priority 100; }"; nft add rule ip fw nat oifname wan0 masquerade',
      );
      const isNoted = async (): Promise<boolean> => {
        const { status, stdout } = await doctor(lab);
        return status === 0 && /^note: .*-gateway: fastpath off: this host translates sources/m.test(stdout);
      };
      expect(await waitUntil(isNoted, WITHIN_MS, 200)).toBe(true);
    });
  });
});
