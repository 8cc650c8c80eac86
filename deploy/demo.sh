#!/bin/sh
# npm run demo: set up, race in a laboratory, print, take everything down.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo 'FSA_PERMISSION: the demo makes network namespaces: run it as root' >&2
  exit 77
fi
sh deploy/setup.sh
exec node dist/src/cli.js lab demo "$@"
