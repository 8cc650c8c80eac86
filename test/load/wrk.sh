#!/bin/sh
# wrk: as many requests as a fixed number of connections can carry, each kept open and never idle.
# There is one race per connection, so the path of decided flows is measured. The loop is closed: a server that stalls
# gets fewer requests meanwhile, and the latencies do not show it. For latencies use firstack load.
#
# usage: wrk.sh [--seconds 10] [--connections 8] [--threads 2] [--path /] URL | --lab NAME
#   --lab NAME   from the client of a running laboratory, to its first service
#   --path PATH  with --lab
# exit: wrk's own; 1 when requests failed; 2 usage; 69 wrk is not installed
set -eu
. "$(dirname "$0")/common.sh"

lab='' url='' seconds=10 connections=8 threads=2 path=/
while [ $# -gt 0 ]; do
  case "$1" in
    --help) usage; exit 0 ;;
    --lab | --seconds | --connections | --threads | --path)
      [ $# -ge 2 ] || misused "$1 what?"
      case "$1" in
        --lab) lab=$2 ;;
        --path) path=$2 ;;
        --seconds) whole "$1" "$2"; seconds=$2 ;;
        --connections) whole "$1" "$2"; connections=$2 ;;
        --threads) whole "$1" "$2"; threads=$2 ;;
      esac
      shift 2
      ;;
    -*) misused "no option $1" ;;
    *) [ -z "$url" ] || misused "one URL"; url=$1; shift ;;
  esac
done
[ -n "$lab" ] || [ -n "$url" ] || misused 'which URL, or which --lab?'
[ -z "$lab" ] || [ -z "$url" ] || misused 'a URL, or --lab?'
[ "$connections" -ge "$threads" ] || threads=$connections
need wrk wrk

[ -z "$lab" ] || url=$(lab_url "$lab" "$path")
set -- wrk --latency "-t$threads" "-c$connections" "-d${seconds}s" "$url"
say "$*"
if [ -n "$lab" ]; then
  printed=$(on "$lab" client "$@")
else
  printed=$("$@")
fi
printf '%s\n' "$printed"
# wrk ends with status 0 even if requests failed.
case "$printed" in
  *'Socket errors'* | *'Non-2xx or 3xx responses'*) fail 1 'requests failed, see above' ;;
  *' 0 requests in '*) fail 1 'nothing was answered' ;;
esac
