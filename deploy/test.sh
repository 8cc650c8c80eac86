#!/bin/sh
# npm test [-- FILE …]: set up, then format, lint, types and all tests. Unit tests run on the host's node, integration tests on
# the node that the package ships. FIRSTACK_REPORTS names a directory for a JSON report of each part.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ "$(id -u)" != 0 ]; then
  echo 'FSA_PERMISSION: the tests make network namespaces: run them as root (npm run check needs no root)' >&2
  exit 77
fi
sh deploy/setup.sh
. deploy/node.sh
if [ -z "$shipped" ]; then
  echo 'test: the integration tests run on the node that the package ships, and npm has not installed it' >&2
  exit 1
fi
npm run -s lint
npm run -s types

# run NODE PART [ARGUMENTS]: a failure of one part does not keep the next from running.
# A file that is named as an argument belongs to one part only.
[ $# = 0 ] || set -- --passWithNoTests "$@"
status=0
run() {
  node=$1 part=$2
  shift 2
  if [ -n "${FIRSTACK_REPORTS:-}" ]; then
    set -- --reporter=default --reporter=json --outputFile.json="$FIRSTACK_REPORTS/$part.json" "$@"
  fi
  "$node" node_modules/vitest/vitest.mjs run --project "$part*" "$@" || status=$?
}
run node unit "$@"
run "$shipped" integration "$@"
exit "$status"
