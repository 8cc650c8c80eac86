/** Actions of a laboratory's roles, as an operator requests them. */
import { askAdmin } from '../../admin/client.js';
import type { RoutedLab } from './lab.js';

/** `POST /v1/NAME` of a host's role. */
export async function post(lab: RoutedLab, host: string, action: string): Promise<void> {
  await askAdmin(`unix:${lab.adminSocket(host)}`, `/v1/${action}`, 'POST');
}
