/**
 * The upper end of sessions: members of the next lower level say hello here, and their state each interval. A member
 * is one while it is heard, and while its certificate is valid and covers what it states.
 */
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { FirstackError } from '../errors.js';
import type { Events } from '../events/events.js';
import { isV6Text, type Prefix } from '../wire/address.js';
import { type Authority, authorityOf } from './certificate.js';
import { isAbove, type RouterLevel } from './levels.js';
import { type Downward, readUpward, type SubnetState } from './messages.js';
import { keyOf, onLines, type secureOptions, send } from './session.js';
import { covers, prefixOf } from './virtual.js';

/** A member of the next lower level. */
export interface Member {
  id: string;
  /** Where tunnels to it end. */
  address: string;
  /** Where tunnels of IPv6 to it end; undefined where it has no such address, or its certificate does not cover it. */
  address6?: string;
  authority: Authority;
  /** As its last message said, less what its certificate does not cover. */
  subnets: readonly SubnetState[];
  /** The round trip of its session, ms; undefined before it has said one. */
  rttMs?: number;
  /** The key of its session's shortcuts. */
  key: Buffer;
  /** Times of `performance.now()`. */
  since: number;
  heardAt: number;
}

/** What a member said last. */
interface Said {
  /** Of its subnets, and which of them its certificate covers. */
  names: string;
  isMine: readonly boolean[];
  essence: string;
}

export interface HelloServerOptions {
  host: string;
  port: number;
  level: RouterLevel;
  intervalMs: number;
  welcome(): Extract<Downward, { type: 'welcome' }>;
  /** Called when a member came, left or said something new. */
  onChange(): void;
  events: Events;
}

/** Intervals without a word after which a member is out. */
export const SILENT_INTERVALS = 3;
const MOST_MEMBERS = 10_000;
/** A session that has not said hello by then ends. */
const HELLO_MS = 5000;

export class HelloServer {
  readonly members = new Map<string, Member>();
  readonly #sockets = new Map<string, TLSSocket>();
  readonly #waiting = new Set<TLSSocket>();
  readonly #said = new WeakMap<Member, Said>();
  #server: Server | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Sessions that were refused, by reason. */
  readonly refused: Record<string, number> = {};

  constructor(readonly options: HelloServerOptions) {}

  /** @throws FirstackError FSA_ADDRESS_NOT_LOCAL where the address cannot be listened on */
  async start(secure: ReturnType<typeof secureOptions>): Promise<void> {
    const { host, port, intervalMs } = this.options;
    const server = createServer({ ...secure, requestCert: true, rejectUnauthorized: true }, (socket) =>
      this.#accept(socket),
    );
    this.#server = server;
    server.on('tlsClientError', (error) => this.#refuse('TLS', error.message));
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) =>
        reject(new FirstackError('FSA_ADDRESS_NOT_LOCAL', `hello.listen: ${error.message}`)),
      );
      server.listen(port, host, resolve);
    });
    this.#timer = setInterval(() => this.#look(), intervalMs / 2);
  }

  /** Where it listens; null before it does. */
  get address(): ReturnType<Server['address']> {
    return this.#server?.address() ?? null;
  }

  /** Takes over new certificates; sessions go on. */
  renew(secure: ReturnType<typeof secureOptions>): void {
    this.#server?.setSecureContext(secure);
  }

  /** Tells every member a change. */
  tell(message: Downward): void {
    for (const socket of this.#sockets.values()) send(socket, message);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    for (const socket of [...this.#sockets.values(), ...this.#waiting]) socket.destroy();
    this.#sockets.clear();
    this.members.clear();
    await new Promise<void>((resolve) =>
      this.#server === undefined ? resolve() : this.#server.close(() => resolve()),
    );
  }

  #accept(socket: TLSSocket): void {
    this.#waiting.add(socket);
    const impatience = setTimeout(() => socket.destroy(), HELLO_MS);
    let member: Member | undefined;
    socket.on('error', () => {});
    socket.once('close', () => {
      clearTimeout(impatience);
      this.#waiting.delete(socket);
      if (member !== undefined && this.members.get(member.id) === member)
        this.#leave(member, 'its session ended');
    });
    onLines(socket, (line) => {
      const message = readUpward(line);
      if (message === undefined) return this.#end(socket, 'message', 'a line that is no message');
      if (message.type === 'state') {
        if (member === undefined) return this.#end(socket, 'message', 'a state before hello');
        const { subnets, subnets6 } = message;
        this.#state(member, subnets6 === undefined ? subnets : [...subnets, ...subnets6]);
        member.rttMs = message.rttMs ?? member.rttMs;
        return send(socket, { type: 'ack', n: message.n });
      }
      if (member !== undefined) return;
      const authority = authorityOf(socket.getPeerCertificate());
      const problem = this.#problemOf(authority, message);
      if (typeof authority === 'string' || problem !== '') return this.#end(socket, 'authority', problem);
      clearTimeout(impatience);
      member = this.#join(socket, authority, message);
    });
  }

  #problemOf(authority: Authority | string, hello: { id: string; level: string; address: string }): string {
    if (typeof authority === 'string') return authority;
    const { id, level, targets } = authority;
    if (hello.id !== id || hello.level !== level)
      return `it says that it is ${hello.level} ${hello.id}, and its certificate ${level} ${id}`;
    if (!isAbove(this.options.level, level)) return `a ${level} stands not below a ${this.options.level}`;
    if (!isCovered(targets, prefixOf(`${hello.address}/32`)))
      return `its certificate covers no tunnel to ${hello.address}`;
    if (!this.members.has(id) && this.members.size >= MOST_MEMBERS) return 'there are too many members';
    return '';
  }

  #join(socket: TLSSocket, authority: Authority, hello: { address: string; address6?: string }): Member {
    const now = performance.now();
    const { id } = authority;
    const { address } = hello;
    const address6 = this.#coveredV6(authority, hello.address6);
    const member: Member = {
      id,
      address,
      ...(address6 === undefined ? {} : { address6 }),
      authority,
      subnets: [],
      key: keyOf(socket),
      since: now,
      heardAt: now,
    };
    const before = this.#sockets.get(id);
    this.#waiting.delete(socket);
    // A session that takes another's place goes on with its state, so that a renewal leaves no gap.
    const subnets = this.members.get(id)?.subnets ?? [];
    member.subnets = subnets.filter((s) => mayServe(member, s.subnet));
    this.members.set(id, member);
    this.#sockets.set(id, socket);
    before?.destroy();
    send(socket, this.options.welcome());
    if (before === undefined)
      this.options.events.say('info', 'member', id, `${authority.level} ${id} said hello`);
    this.options.onChange();
    return member;
  }

  /** A member whose certificate does not cover its IPv6 address counts as one without, and goes on with IPv4. */
  #coveredV6({ id, targets }: Authority, address6: string | undefined): string | undefined {
    if (address6 === undefined || isCovered(targets, prefixOf(`${address6}/128`))) return address6;
    const why = `gets no connections over IPv6: its certificate covers no tunnel to ${address6}`;
    this.options.events.say('warn', 'member-address6', id, why);
    return undefined;
  }

  #state(member: Member, subnets: readonly SubnetState[]): void {
    member.heardAt = performance.now();
    const names = subnets.map((s) => s.subnet).join();
    let said = this.#said.get(member);
    // A member says the same subnets each time.
    if (said?.names !== names) {
      const isMine = subnets.map((s) => mayServe(member, s.subnet));
      said = { names, isMine, essence: said?.essence ?? essence(member.subnets) };
      this.#said.set(member, said);
    }
    const { isMine, essence: before } = said;
    member.subnets = subnets.filter((_, n) => isMine[n]);
    said.essence = essence(member.subnets);
    // Loads change each time: they are taken over once per interval.
    if (said.essence !== before) this.options.onChange();
  }

  #look(): void {
    const silentMs = SILENT_INTERVALS * this.options.intervalMs;
    for (const member of [...this.members.values()]) {
      if (performance.now() - member.heardAt > silentMs)
        this.#leave(member, `not heard for ${SILENT_INTERVALS} intervals`);
      else if (Date.now() > member.authority.until) this.#leave(member, 'its certificate has expired');
    }
  }

  #leave(member: Member, why: string): void {
    const { id } = member;
    this.members.delete(id);
    this.#sockets.get(id)?.destroy();
    this.#sockets.delete(id);
    this.options.events.say('warn', 'member-out', id, `gets no new connections: ${why}`);
    this.options.onChange();
  }

  #end(socket: TLSSocket, reason: string, why: string): void {
    this.#refuse(reason, `${why} (${socket.remoteAddress})`);
    socket.destroy();
  }

  #refuse(reason: string, why: string): void {
    this.refused[reason] = (this.refused[reason] ?? 0) + 1;
    // The first of each reason, and then each hundredth: a stranger cannot fill the log.
    if (this.refused[reason] % 100 === 1)
      this.options.events.say('warn', 'session-refused', reason, `a session was refused: ${why}`);
  }
}

/** What of a state must be known at once. */
const essence = (subnets: readonly SubnetState[]): string =>
  subnets.map((s) => [s.subnet, s.available, s.standby, s.weight, s.servers].join()).join(';');

/** Whether a member's certificate covers a virtual subnet, and tunnels of the subnet's family can reach it. */
const mayServe = ({ authority, address6 }: Member, subnet: string): boolean =>
  (address6 !== undefined || !isV6Text(subnet)) && isCovered(authority.subnets, prefixOf(subnet));

const isCovered = (by: readonly Prefix[], subnet: Prefix): boolean => by.some((p) => covers(p, subnet));
