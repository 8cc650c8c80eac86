#!/bin/sh
# Runs firstack from a checkout, building it first where that has not been done.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
[ -f "$root/dist/src/cli.js" ] && [ -f "$root/dist/native/tun.node" ] || sh "$root/deploy/setup.sh" >&2
exec node "$root/dist/src/cli.js" "$@"
