/**
 * The catalogue of errors that operators see, each with a stable code and the exit code of the process that it ends.
 * `src/README.md` lists what to do about each one.
 */

/** Process exit codes (sysexits where one fits). */
export const EXIT = {
  ok: 0,
  /** The process ran, but an expectation was not met. */
  expectation: 1,
  usage: 2,
  /** Something outside the role's own file is missing or in the way, and may pass by itself: tried again. */
  unavailable: 69,
  permission: 77,
  /** Only a person can mend it, in the role's own file or by installing something: not tried again. */
  configuration: 78,
} as const;

const CATALOGUE = {
  FSA_USAGE: EXIT.usage,
  FSA_EXPECTATION: EXIT.expectation,
  FSA_INTERNAL: EXIT.expectation,
  FSA_PERMISSION: EXIT.permission,
  FSA_REGISTRY_UNAVAILABLE: EXIT.unavailable,
  FSA_REGISTRY_REFUSED: EXIT.configuration,
  FSA_REGISTRY_TLS: EXIT.configuration,
  FSA_REGISTRY_URL: EXIT.configuration,
  FSA_CONFIG_UNREADABLE: EXIT.configuration,
  FSA_CONFIG_SYNTAX: EXIT.configuration,
  FSA_CONFIG_INVALID: EXIT.configuration,
  FSA_CONFIG_UNKNOWN_KEY: EXIT.configuration,
  FSA_CONFIG_TYPE: EXIT.configuration,
  FSA_CONFIG_VALUE: EXIT.configuration,
  FSA_CONFIG_MISSING: EXIT.configuration,
  FSA_PREFIX_OVERLAP: EXIT.configuration,
  FSA_CONFIGURATION_MISMATCH: EXIT.configuration,
  FSA_FORWARDING_OFF: EXIT.unavailable,
  FSA_FORWARD_DROPS: EXIT.unavailable,
  FSA_MASQUERADE: EXIT.unavailable,
  FSA_INTERFACE_MISSING: EXIT.unavailable,
  FSA_INTERFACE_DOWN: EXIT.unavailable,
  FSA_INTERFACE_TAKEN: EXIT.unavailable,
  FSA_ADDRESS_NOT_LOCAL: EXIT.unavailable,
  FSA_SERVER_NOT_ADJACENT: EXIT.unavailable,
  FSA_FASTPATH_UNAVAILABLE: EXIT.configuration,
  FSA_INSTANCE_RUNNING: EXIT.unavailable,
  FSA_STEERING_TAKEN: EXIT.configuration,
  FSA_IDENTITY_TAKEN: EXIT.unavailable,
  FSA_ENDPOINT_TAKEN: EXIT.unavailable,
  FSA_TOOL_MISSING: EXIT.configuration,
  FSA_KEY_INVALID: EXIT.configuration,
  FSA_CREDENTIAL: EXIT.configuration,
  FSA_SCOPE: EXIT.configuration,
  FSA_ADMIN_UNAVAILABLE: EXIT.unavailable,
  FSA_RACE_UNKNOWN: EXIT.expectation,
  FSA_LAB_EXISTS: EXIT.configuration,
  FSA_LAB_UNKNOWN: EXIT.configuration,
  FSA_LAB_FAILED: EXIT.unavailable,
} as const;

export type ErrorCode = keyof typeof CATALOGUE;
export const ERROR_CODES = Object.keys(CATALOGUE) as ErrorCode[];

/** One problem: its place, and how to correct it. */
export interface Problem {
  code: ErrorCode;
  message: string;
}

/** An error with a stable code. Several problems of one file are in `problems`. */
export class FirstackError extends Error {
  readonly exitCode: number;
  readonly problems: Problem[];

  constructor(
    readonly code: ErrorCode,
    message: string,
    problems?: Problem[],
  ) {
    super(message);
    this.name = 'FirstackError';
    this.exitCode = CATALOGUE[code];
    this.problems = problems ?? [{ code, message }];
  }

  /** A single problem keeps its own code; several become one error with the code of the first. */
  static ofProblems(problems: Problem[]): FirstackError {
    return new FirstackError(problems[0].code, problems.map((p) => p.message).join('; '), problems);
  }
}

/** The lines that the CLI prints on stderr for an error: one per problem, the code first. */
export function describeError(error: unknown): string[] {
  if (error instanceof FirstackError) return error.problems.map((p) => `${p.code}: ${p.message}`);
  return [`FSA_INTERNAL: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`];
}
