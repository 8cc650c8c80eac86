#!/bin/sh
# npm test: set up, then format, lint, types and all tests.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo 'FSA_PERMISSION: the tests make network namespaces: run them as root (npm run check needs no root)' >&2
  exit 77
fi
sh deploy/setup.sh
npm run -s lint
npm run -s types
exec node node_modules/vitest/vitest.mjs run "$@"
