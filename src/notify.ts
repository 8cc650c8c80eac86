/**
 * Tells the service manager the role's state (sd_notify(3)): `READY=1`, `STOPPING=1`, `STATUS=…`. Does nothing where
 * no service manager asked for it. It never blocks, and its errors are ignored.
 */
import { native } from './device/native.js';

/** @param lines assignments, without line ends */
export function notifyManager(...lines: string[]): void {
  const socket = process.env.NOTIFY_SOCKET;
  if (socket === undefined || socket === '') return;
  try {
    native.notify(socket, lines.join('\n'));
  } catch {
    // The manager is busy or no longer there. A service that systemd waits for in vain is ended by systemd itself.
  }
}
