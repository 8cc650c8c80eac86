#!/bin/sh
# One command for real hosts: ramps the load up, holds it, checks every body, prints JSON, draws a plot.
#
# usage: hosts.sh URL [--ramp 5:50:30s,50:50:30s] [--out DIRECTORY] [-- OPTION of firstack load ...]
#   URL              http://HOST[:PORT]/PATH of a file that is the same on every replica
#   --out DIRECTORY  directory for load.json and load.svg (default: firstack-load)
#   -- OPTION ...    further options; with --sha256 HEX bodies are checked against this hash instead of
#                    the first body (--verify)
# exit: 0; 1 when a request failed or a body was wrong; 2 usage
set -eu
. "$(dirname "$0")/common.sh"

url='' ramp=5:50:30s,50:50:30s out=firstack-load
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case "$1" in
    --help) usage; exit 0 ;;
    --ramp | --out)
      [ $# -ge 2 ] || misused "$1 what?"
      [ "$1" != --ramp ] || ramp=$2
      [ "$1" != --out ] || out=$2
      shift 2
      ;;
    -*) misused "no option $1" ;;
    *) [ -z "$url" ] || misused 'one URL'; url=$1; shift ;;
  esac
done
[ $# -eq 0 ] || shift
[ -n "$url" ] || misused 'which URL?'
case " $* " in
  *' --sha256'* | *' --mode connect '* | *' --mode=connect '*) ;;
  *) set -- --verify "$@" ;;
esac

mkdir -p "$out"
status=0
firstack load "$url" --ramp "$ramp" --progress --json --svg "$out/load.svg" "$@" >"$out/load.json" || status=$?
cat "$out/load.json"
[ ! -s "$out/load.json" ] || say "$out/load.json, $out/load.svg"
exit "$status"
