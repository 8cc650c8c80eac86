#!/bin/sh
# h2load: new connections at a rate, one request on each, HTTP/1.1: every request is a race.
# The times that it prints count from the opening of the connection, not from its due time.
#
# usage: h2load.sh [--seconds 10] [--rate 50] [--path /] URL | --lab NAME
#   --rate N     connections a second
#   --lab NAME   from the client of a running laboratory, to its first service
#   --path PATH  with --lab
# exit: h2load's own; 1 when requests failed; 2 usage; 69 h2load is not installed
set -eu
. "$(dirname "$0")/common.sh"

lab='' url='' seconds=10 rate=50 path=/
while [ $# -gt 0 ]; do
  case "$1" in
    --help) usage; exit 0 ;;
    --lab | --seconds | --rate | --path)
      [ $# -ge 2 ] || misused "$1 what?"
      case "$1" in
        --lab) lab=$2 ;;
        --path) path=$2 ;;
        --seconds) whole "$1" "$2"; seconds=$2 ;;
        --rate) whole "$1" "$2"; rate=$2 ;;
      esac
      shift 2
      ;;
    -*) misused "no option $1" ;;
    *) [ -z "$url" ] || misused "one URL"; url=$1; shift ;;
  esac
done
[ -n "$lab" ] || [ -n "$url" ] || misused 'which URL, or which --lab?'
[ -z "$lab" ] || [ -z "$url" ] || misused 'a URL, or --lab?'
need h2load nghttp2-client

[ -z "$lab" ] || url=$(lab_url "$lab" "$path")
all=$((rate * seconds))
set -- h2load --h1 -n "$all" -c "$all" -r "$rate" -N 10s "$url"
say "$*"
if [ -n "$lab" ]; then
  printed=$(on "$lab" client "$@")
else
  printed=$("$@")
fi
printf '%s\n' "$printed"
# h2load ends with status 0 even if requests failed.
case "$printed" in
  *", $all succeeded, 0 failed, 0 errored, 0 timeout"*"status codes: $all 2xx,"*) ;;
  *) fail 1 'requests failed, see above' ;;
esac
