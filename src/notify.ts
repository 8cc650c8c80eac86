/**
 * Tells the service manager how a role is doing (sd_notify(3)): `READY=1`, `STOPPING=1`, `STATUS=…`.
 * Does nothing where nobody asked to be told, and never stands in a role's way.
 */
import { native } from './device/native.js';

/** @param lines assignments, without line ends */
export function notifyManager(...lines: string[]): void {
  const socket = process.env.NOTIFY_SOCKET;
  if (socket === undefined || socket === '') return;
  try {
    native.notify(socket, lines.join('\n'));
  } catch {
    // A manager that is gone or busy; systemd itself ends a service that it waits for in vain.
  }
}
