import { describe, expect, it } from 'vitest';
import {
  advance,
  CLIENT_FIN,
  CLOSING,
  ESTABLISHED,
  idleTicks,
  OPENING,
  RESET_BY_CLIENT,
  RESET_BY_SERVER,
  SERVER_FIN,
  UNDECIDED,
} from '../../../src/flow/states.js';
import { FlowTable } from '../../../src/flow/table.js';
import { ACK, FIN, RST } from '../../../src/wire/tcp.js';

const IDLE = idleTicks({ openingTimeoutMs: 1000, establishedTimeoutMs: 5000, closingTimeoutMs: 2001 }, 100);
const CLIENT = true;
const SERVER = false;

function walk(
  from: number,
  ...steps: [number, boolean][]
): { state: number; marks: number; expires: number } {
  const flows = new FlowTable(1, [1, 2]);
  flows.keyV4(1, 2, 3, 4);
  const e = flows.insert();
  flows.state[e] = from;
  for (const [flags, fromClient] of steps) advance(flows, e, flags, fromClient, 7, IDLE);
  return { state: flows.state[e], marks: flows.marks[e], expires: flows.expiresAt[e] };
}

describe('the life of a flow', () => {
  it('has its own idle time in each state, rounded up to ticks', () => {
    expect([...IDLE]).toEqual([0, 10, 10, 50, 21, 21, 21, 21, 3000]);
  });

  it('is idle for as long as the kernel can tell, at most', () => {
    const days = 24 * 3600 * 10;
    const forever = {
      openingTimeoutMs: 1000,
      establishedTimeoutMs: 2 ** 40,
      closingTimeoutMs: 25 * 86_400_000,
    };
    expect([...idleTicks(forever, 100)]).toEqual([0, 10, 10, ...new Array(5).fill(25 * days), 3000]);
  });

  it("is established by the client's ACK, not by the server's", () => {
    expect(walk(OPENING, [ACK, CLIENT])).toEqual({ state: ESTABLISHED, marks: 0, expires: 57 });
    expect(walk(OPENING, [ACK, SERVER])).toEqual({ state: OPENING, marks: 0, expires: 17 });
  });

  it('closes when both have sent FIN, in any order', () => {
    expect(walk(ESTABLISHED, [FIN | ACK, CLIENT])).toEqual({
      state: ESTABLISHED,
      marks: CLIENT_FIN,
      expires: 57,
    });
    expect(walk(ESTABLISHED, [FIN | ACK, SERVER])).toEqual({
      state: ESTABLISHED,
      marks: SERVER_FIN,
      expires: 57,
    });
    for (const [a, b] of [
      [CLIENT, SERVER],
      [SERVER, CLIENT],
    ])
      expect(walk(ESTABLISHED, [FIN | ACK, a], [FIN | ACK, b], [ACK, a])).toEqual({
        state: CLOSING,
        marks: CLIENT_FIN | SERVER_FIN,
        expires: 28,
      });
    expect(walk(ESTABLISHED, [FIN, CLIENT], [FIN, CLIENT]).state).toBe(ESTABLISHED);
  });

  it('is reset by either side, and stays so while that side is silent', () => {
    expect(walk(ESTABLISHED, [RST, SERVER])).toMatchObject({ state: RESET_BY_SERVER, expires: 28 });
    expect(walk(OPENING, [RST | ACK, CLIENT]).state).toBe(RESET_BY_CLIENT);
    expect(walk(ESTABLISHED, [RST, CLIENT], [ACK, SERVER], [ACK, SERVER])).toMatchObject({
      state: RESET_BY_CLIENT,
      expires: 28,
    });
    expect(walk(CLOSING, [RST, CLIENT]).state).toBe(CLOSING);
  });

  it('goes on when the side that is said to have sent the RST goes on', () => {
    expect(walk(ESTABLISHED, [RST, SERVER], [ACK, SERVER])).toMatchObject({
      state: ESTABLISHED,
      expires: 57,
    });
    expect(walk(ESTABLISHED, [RST, CLIENT], [ACK, SERVER], [ACK, CLIENT]).state).toBe(ESTABLISHED);
  });

  it('stays undecided while no machine has answered', () => {
    expect(walk(UNDECIDED, [ACK, CLIENT]).state).toBe(UNDECIDED);
  });
});
