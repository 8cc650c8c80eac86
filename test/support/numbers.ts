/** Branded numbers for tests. */
import type { At, CandidateNumber, FlowEntry, MachineNumber, ServiceNumber } from '../../src/flow/numbers.js';

export const serviceNumber = (n: number): ServiceNumber => n as ServiceNumber;
export const machineNumber = (n: number): MachineNumber => n as MachineNumber;
export const candidateNumber = (n: number): CandidateNumber => n as CandidateNumber;
export const flowEntry = (n: number): FlowEntry => n as FlowEntry;
export const offset = (n: number): At => n as At;
