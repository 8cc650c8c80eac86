/**
 * The record of a service: an address and ports, and the program that carries it. The services of all programs have
 * this kind; properties that only the program needs are under the program's name.
 *
 * Form 1 had only one program, the race, whose keys stood beside the others. It is read as form 2 with a part `race`.
 * The race's services are still written in form 1, for roles of the version before (ADR 12).
 */
import type { Schema } from '../config.js';
import { coversAddresses, coversNames } from '../trust/scope.js';
import { nameSchema, portSchema, type RecordKind, recordSchema, serviceIpSchema } from './kinds.js';

export const PROTOCOLS = ['tcp', 'udp'] as const;
export type ServiceProtocol = (typeof PROTOCOLS)[number];

/** Published by an origin. It has no time to live, because flows outlive the role. */
export interface ServiceRecord {
  v: 2;
  name: string;
  /** The service address S ("VIP"). */
  address: string;
  ports: number[];
  protocol: ServiceProtocol;
  /** The name of the program that carries the service. */
  program: string;
  /** The program's own part, under its name. */
  [part: string]: unknown;
}

const FORMER_PROGRAM = 'race';

const base = {
  name: nameSchema,
  address: serviceIpSchema,
  ports: { type: 'array', items: portSchema, minItems: 1, uniqueItems: true },
};
const baseKeys = Object.keys(base);

/** A program's part of the service record: the properties of an object. */
export interface ServicePart {
  properties: Record<string, Schema>;
  required: string[];
}

/** The kind, for a role whose programs have these parts. The parts of other programs are not checked. */
export function serviceKindFor(parts: Readonly<Record<string, ServicePart>>): RecordKind<ServiceRecord> {
  const former = parts[FORMER_PROGRAM];
  const formerSchema: Schema =
    former === undefined
      ? { ...recordSchema(1, base, baseKeys), additionalProperties: true }
      : recordSchema(1, { ...base, ...former.properties }, [...baseKeys, ...former.required]);
  const partSchemas = Object.fromEntries(
    Object.entries(parts).map(([name, { properties, required }]) => [
      name,
      { type: 'object', additionalProperties: false, properties, required },
    ]),
  );
  const schemas = new Map<string, Schema>();
  const schemaFor = (program: string): Schema => {
    let schema = schemas.get(program);
    if (schema === undefined) {
      schema = {
        ...recordSchema(
          2,
          {
            ...base,
            protocol: { enum: [...PROTOCOLS], default: 'tcp' },
            program: nameSchema,
            ...partSchemas,
          },
          [...baseKeys, 'program', ...(parts[program] === undefined ? [] : [program])],
        ),
        additionalProperties: parts[program] === undefined,
      };
      schemas.set(program, schema);
    }
    return schema;
  };
  return {
    name: 'service',
    inFile: 'services',
    isLasting: true,
    schemaOf: (value) =>
      versionOf(value) === 2 ? schemaFor((value as ServiceRecord).program) : formerSchema,
    upgrade: (value) => {
      if (versionOf(value) === 2) return value as ServiceRecord;
      const { v: _v, name, address, ports, ...race } = value as ServiceRecord;
      return { v: 2, name, address, ports, protocol: 'tcp', program: FORMER_PROGRAM, race };
    },
    write: (record) => {
      if (record.program !== FORMER_PROGRAM) return record;
      const { name, address, ports, race } = record;
      return { v: 1, name, address, ports, ...(race as object) };
    },
    idOf: (record) => record.name,
    authority: ({ name, address }, by) =>
      (by.sub.startsWith('origin:') ? '' : 'only an origin may publish a service') ||
      coversNames(by, 'services', [name]) ||
      coversAddresses(by, 'servicePrefixes', [address]),
  };
}

const versionOf = (value: unknown): unknown => (value as { v?: unknown } | null)?.v;

/** The kind, for use as a key of a view. */
export const serviceKind = serviceKindFor({});
