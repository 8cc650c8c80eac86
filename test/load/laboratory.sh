#!/bin/sh
# One command for a laboratory: starts it, ramps the load, prints JSON, draws a plot, removes it.
#
# usage: laboratory.sh [--configuration A] [--race origin] [--ramp 10:60:10s,60:60:5s] [--out DIRECTORY]
#   --out DIRECTORY  directory for load.json and load.svg (default: firstack-load)
# exit: 0; 1 when a request failed or a body was wrong; 2 usage; 77 not root
set -eu
. "$(dirname "$0")/common.sh"

configuration=A race=origin ramp=10:60:10s,60:60:5s out=firstack-load
while [ $# -gt 0 ]; do
  [ "$1" != --help ] || { usage; exit 0; }
  [ $# -ge 2 ] || misused "$1 what?"
  case "$1" in
    --configuration) configuration=$2 ;;
    --race) race=$2 ;;
    --ramp) ramp=$2 ;;
    --out) out=$2 ;;
    *) misused "no option $1" ;;
  esac
  shift 2
done
[ "$(id -u)" = 0 ] || fail 77 'FSA_PERMISSION: the laboratory makes network namespaces: run it as root'

mkdir -p "$out"
name="load-$$"
down() { firstack lab down --name "$name" || true; }
trap 'exit 130' INT
trap 'exit 143' TERM
firstack lab up --name "$name" --configuration "$configuration" --race "$race" >&2
trap down EXIT
status=0
firstack load --lab "$name" --ramp "$ramp" --progress --json --svg "$out/load.svg" >"$out/load.json" || status=$?
cat "$out/load.json"
say "$out/load.json, $out/load.svg"
exit "$status"
