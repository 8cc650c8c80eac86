import { describe, expect, it } from 'vitest';
import { Changes } from '../../../src/race/changes.js';
import { type ReplicaRecord, replicaKind } from '../../../src/race/records.js';
import { type RecordKind, View } from '../../../src/registry/kinds.js';

const view = (...replicas: [id: string, state: string, reason?: string][]): View =>
  View.of([
    replicaKind as RecordKind,
    replicas.map(([id, state, reason = '']) => ({ id, state, reason }) as unknown as ReplicaRecord),
  ]);
const told = (changes: Changes, v: View): string[] => changes.take(v).map((c) => c.message);

describe('changes of the fleet', () => {
  it('are joins, leaves and changes of state; the first view is none', () => {
    const changes = new Changes();
    expect(told(changes, view(['r1', 'up'], ['r2', 'up']))).toEqual([]);
    expect(told(changes, view(['r1', 'up'], ['r2', 'up']))).toEqual([]);
    expect(told(changes, view(['r1', 'draining', 'an operator requested it'], ['r3', 'up']))).toEqual([
      'machine r1: up → draining (an operator requested it)',
      'machine r3 has joined: up',
      'machine r2 has left (it was up)',
    ]);
  });

  it('of a reason alone are not told', () => {
    const changes = new Changes();
    told(changes, view(['r1', 'busy', '5 connections']));
    expect(told(changes, view(['r1', 'busy', '6 connections']))).toEqual([]);
  });

  it('of many machines are one sentence', () => {
    const changes = new Changes();
    told(changes, view());
    const many = Array.from({ length: 500 }, (_, n): [string, string] => [`r${n}`, 'up']);
    const sentences = told(changes, view(...many));
    expect(sentences).toHaveLength(1);
    expect(sentences[0]).toMatch(/^500 machines have changed: machine r0 has joined: up; .*; …$/);
  });
});
