#!/bin/sh
# Runs firstack from a checkout, building it first where that has not been done: with the node that the package
# ships, or the host's where npm has not installed that one.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
[ -f "$root/dist/src/cli.js" ] && [ -f "$root/dist/native/tun.node" ] || sh "$root/deploy/setup.sh" >&2
. "$root/deploy/node.sh"
exec "${shipped:-node}" --max-semi-space-size=16 --max-old-space-size=1024 "$root/dist/src/cli.js" "$@"
