#!/bin/sh
# npm run demo: set up, race in a laboratory, print, take everything down.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ "$(id -u)" != 0 ]; then
  echo 'FSA_PERMISSION: the demo makes network namespaces: run it as root' >&2
  exit 77
fi
sh deploy/setup.sh
. deploy/node.sh
exec "${shipped:-node}" dist/src/cli.js lab demo "$@"
