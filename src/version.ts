/** The version of this software, as `package.json` has it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = here.replace(/\/(dist\/)?src\/$/, '');

export const VERSION = (JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string })
  .version;
