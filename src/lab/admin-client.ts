/** Queries a role over its admin socket. A Unix socket is a file, so it can be reached from any network namespace. */
import { request } from 'node:http';

export interface RoleStatus {
  role: string;
  instance: string;
  state?: string;
  connections?: number;
  reason?: string;
  counters: Record<string, number>;
  candidates?: { id: string; state: string; distanceMs: number | null }[];
  services: { name: string }[];
  /** Names of everything that the role's data plane uses now. */
  applied: {
    services: string[];
    replicas: string[];
    replicasUp: string[];
    gateways: number[];
    /** On a gateway: the replicas that are ejected from a service's races. */
    ejected?: string[];
  };
  registry: { connected: boolean; viewAgeMs: number; clockOffsetMs: number | null };
}

export interface Answer {
  status: number;
  body: string;
}

/** @returns undefined when there is no answer */
export function ask(socketPath: string, path: string, method = 'GET'): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const outgoing = request({ socketPath, path, method, timeout: 2000 }, (incoming) => {
      const parts: Buffer[] = [];
      incoming.on('data', (part) => parts.push(part));
      incoming.on('end', () =>
        resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(parts).toString() }),
      );
      incoming.on('error', () => resolve(undefined));
    });
    outgoing.on('timeout', () => outgoing.destroy());
    outgoing.on('error', () => resolve(undefined));
    outgoing.end();
  });
}

/** @returns undefined when there is no answer, or one without status 200 and JSON */
export async function askJson<T>(socketPath: string, path: string): Promise<T | undefined> {
  const answer = await ask(socketPath, path);
  if (answer?.status !== 200) return undefined;
  try {
    return JSON.parse(answer.body) as T;
  } catch {
    return undefined;
  }
}
