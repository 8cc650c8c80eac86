/** Words for the keys of role files, which `firstack config example` prints. */
import type { Schema } from './config.js';

/**
 * A schema with the sentence that stands before the key in an annotated role file.
 * @param example the value that stands there, for a key without a default
 */
export function explained(schema: Schema, description: string, example?: unknown): Schema {
  return { ...schema, description, ...(example === undefined ? {} : { examples: [example] }) };
}

/** The mark of a key that most files need, although it may be left out: the annotated role file has it as it is. */
export const USUAL = 'usual';
export const usual = (schema: Schema): Schema => ({ ...schema, $comment: USUAL });
