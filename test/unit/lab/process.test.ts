import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { endAll, identify, isAlive, run, signal } from '../../../src/lab/process.js';

describe('processes by pid and start time', () => {
  it('are alive until they end', async () => {
    const child = spawn('sleep', ['60']);
    const id = identify(child.pid as number);
    expect(id && isAlive(id)).toBe(true);
    const gone = once(child, 'exit');
    if (id) await endAll([id]);
    await gone;
    expect(id && isAlive(id)).toBe(false);
  });

  it('are not signalled when their pid belongs to another process now', async () => {
    const child = spawn('sleep', ['60']);
    const now = identify(child.pid as number);
    const earlier = { pid: child.pid as number, startTime: '1' };
    expect(isAlive(earlier)).toBe(false);
    expect(signal(earlier, 'SIGKILL')).toBe(false);
    await endAll([earlier]);
    expect(now && isAlive(now)).toBe(true);
    const gone = once(child, 'exit');
    child.kill();
    await gone;
  });

  it('are ended even if they ignore SIGTERM, or are stopped', async () => {
    const deaf = spawn('sh', ['-c', 'trap "" TERM; echo on; while :; do sleep 0.05; done']);
    await once(deaf.stdout, 'data');
    const stopped = spawn('sleep', ['60']);
    stopped.kill('SIGSTOP');
    const ids = [deaf, stopped].map((c) => identify(c.pid as number) ?? { pid: 0, startTime: '' });
    expect(ids.map(isAlive)).toEqual([true, true]);
    await endAll(ids, 200);
    expect(ids.map(isAlive)).toEqual([false, false]);
  });

  it('return their exit status, and 127 for a command that does not exist', async () => {
    expect(await run(['sh', '-c', 'cat; exit 3'], { input: 'in' })).toMatchObject({
      status: 3,
      stdout: 'in',
    });
    expect((await run(['/nonexistent/command'])).status).toBe(127);
  });
});
