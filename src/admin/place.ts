/**
 * Where the admin API of a role is. By default all of it is on a Unix socket in a directory that only the role's own user
 * and root may enter, and health and metrics alone are on loopback as well. A file that names `admin.listen` has all of it
 * there, and nothing else.
 */
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { FirstackError } from '../errors.js';
import type { RoleName } from '../steer/marks.js';
import { RUN_DIRECTORY } from '../steer/record.js';
import { type AdminConfig, guardOf } from './guard.js';
import { type Admin, type AdminSource, createAdmin, createHealth } from './server.js';

/** The sockets of this host's roles. No instance can have this name, because of the dot. */
export const SOCKETS = `${RUN_DIRECTORY}/admin.d`;
/** The loopback ports of health and metrics; of all of the API in earlier versions. */
export const PORTS: Record<RoleName, number> = { gateway: 7411, origin: 7412, replica: 7413 };

export const AUTO = 'auto';
export const OFF = 'off';

/** The addresses on which one role answers. */
export interface Place {
  /** All of the API. */
  all: string;
  /** Health and metrics alone; undefined for none. */
  health?: string;
}

export function placeOf(
  { listen, metrics, tokenFile, tls }: AdminConfig,
  role: RoleName,
  instance: string,
): Place {
  // A token or a certificate is for TCP: such a file means the loopback port, as in earlier versions.
  const isDefault = listen === AUTO && tokenFile === undefined && tls === undefined;
  const loopback = listen === AUTO ? `127.0.0.1:${PORTS[role]}` : listen;
  const all = isDefault ? `unix:${SOCKETS}/${role}-${instance}.sock` : loopback;
  if (metrics === OFF || (metrics === AUTO && !isDefault)) return { all };
  return { all, health: metrics === AUTO ? `127.0.0.1:${PORTS[role]}` : metrics };
}

/** The admin API of one role, on all of its addresses. */
export function openAdmin(
  source: AdminSource,
  config: AdminConfig,
  role: RoleName,
  instance: string,
): { listen(): Promise<void>; close(): Promise<void> } {
  const { all, health } = placeOf(config, role, instance);
  const opened: [Admin, string][] = [[createAdmin(source, guardOf(config)), all]];
  if (health !== undefined) opened.push([createHealth(source), health]);
  return {
    listen: async () => {
      const isOwn = all.startsWith(`unix:${SOCKETS}/`) && makePrivate(SOCKETS);
      for (const [admin, address] of opened) await admin.listen(address);
      // In a directory of another user the name could have become a link by now.
      if (isOwn) chmodSync(all.replace('unix:', ''), 0o600);
    },
    close: async () => void (await Promise.all(opened.map(([admin]) => admin.close()))),
  };
}

/**
 * Makes the directory of the sockets, mode 0700: that decides who may connect, whatever the sockets' own modes.
 * @returns whether it is this user's own; root may use another user's
 * @throws FirstackError FSA_PERMISSION where another user has made it, or others may enter it
 */
export function makePrivate(directory: string): boolean {
  mkdirSync(RUN_DIRECTORY, { recursive: true, mode: 0o755 });
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const found = lstatSync(directory);
  const { mode, uid } = found;
  const self = process.geteuid?.() ?? 0;
  if (found.isDirectory() && (mode & 0o077) === 0 && (uid === self || self === 0)) return uid === self;
  throw new FirstackError(
    'FSA_PERMISSION',
    `${directory}: it must be a directory with mode 0700 of the user that runs the roles: remove it, or set admin.listen`,
  );
}

/**
 * The default addresses of this host's roles. A role of an earlier version, or whose file says so, has all of its API on
 * the loopback port.
 * @param role only its sockets; undefined for all roles
 * @throws FirstackError FSA_PERMISSION where this user may not see the sockets
 */
export function socketsOf(role?: RoleName): string[] {
  if (!existsSync(SOCKETS)) return [];
  try {
    return readdirSync(SOCKETS)
      .filter((name) => name.endsWith('.sock') && (role === undefined || name.startsWith(`${role}-`)))
      .sort()
      .map((name) => `unix:${SOCKETS}/${name}`);
  } catch (error) {
    throw new FirstackError(
      'FSA_PERMISSION',
      `${SOCKETS}: ${(error as Error).message}: ask as root, or as the user that runs the roles`,
    );
  }
}
