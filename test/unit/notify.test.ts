import { afterEach, describe, expect, it } from 'vitest';
import { native } from '../../src/device/native.js';
import { notifyManager } from '../../src/notify.js';

const before = process.env.NOTIFY_SOCKET;
afterEach(() => {
  if (before === undefined) delete process.env.NOTIFY_SOCKET;
  else process.env.NOTIFY_SOCKET = before;
});

const codeOf = (socket: string, text = 'READY=1'): string => {
  try {
    native.notify(socket, text);
    return '';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? '';
  }
};

// A real service manager tests that the text arrives: test/integration/package.test.ts.
describe('notify', () => {
  it('throws the reason why a datagram cannot be sent', () => {
    expect(codeOf('/nowhere/socket')).toBe('ENOENT');
    expect(codeOf('@firstack-nobody-listens-here')).toBe('ECONNREFUSED');
    expect(codeOf('relative')).toBe('EINVAL');
    expect(codeOf('')).toBe('EINVAL');
    expect(codeOf(`/${'x'.repeat(200)}`)).toBe('EINVAL');
  });

  it('never fails in a role', () => {
    delete process.env.NOTIFY_SOCKET;
    notifyManager('READY=1');
    process.env.NOTIFY_SOCKET = '/nowhere/socket';
    notifyManager('STOPPING=1', 'STATUS=going');
  });
});
