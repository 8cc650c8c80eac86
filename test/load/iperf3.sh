#!/bin/sh
# iperf3: bytes a second of a few long flows, down (default) or up.
#
# usage: iperf3.sh [--seconds 10] [--flows 1] [--up] [--json] HOST[:PORT] | --lab NAME
#   HOST[:PORT]  where `iperf3 -s` runs; PORT is 5201 by default. To measure through firstack, make that port a
#                service and run iperf3 on every replica. Control and data are two connections, each raced:
#                iperf3 fails when different machines win them, as may happen where two are equally near.
#   --lab NAME   from the client of a running laboratory. With a service named `iperf3` that has no web
#                server (lab up --topology test/load/iperf3.yaml): through firstack, to servers started on
#                every machine of it. Without such a service: to the origin's server by plain routing.
# exit: iperf3's own; 2 usage; 69 iperf3 is not installed
set -eu
. "$(dirname "$0")/common.sh"

lab='' target='' seconds=10 flows=1 up=no json=no
while [ $# -gt 0 ]; do
  case "$1" in
    --help) usage; exit 0 ;;
    --up) up=yes; shift ;;
    --json) json=yes; shift ;;
    --lab | --seconds | --flows)
      [ $# -ge 2 ] || misused "$1 what?"
      case "$1" in
        --lab) lab=$2 ;;
        --seconds) whole "$1" "$2"; seconds=$2 ;;
        --flows) whole "$1" "$2"; flows=$2 ;;
      esac
      shift 2
      ;;
    -*) misused "no option $1" ;;
    *) [ -z "$target" ] || misused "one host"; target=$1; shift ;;
  esac
done
[ -n "$lab" ] || [ -n "$target" ] || misused 'which host, or which --lab?'
[ -z "$lab" ] || [ -z "$target" ] || misused 'a host, or --lab?'
need iperf3 iperf3

servers=''
stop() {
  # shellcheck disable=SC2086
  [ -z "$servers" ] || kill $servers 2>/dev/null || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# serve HOST PORT: starts a server on HOST and waits until it listens
serve() {
  (on "$lab" "$1" iperf3 -s -4 -p "$2") >/dev/null 2>&1 &
  servers="$servers $!"
  hex=$(printf ':%04X 00000000:0000 0A' "$2")
  tries=0
  until (on "$lab" "$1" grep -q "$hex" /proc/net/tcp); do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || fail 69 "iperf3 on $1 does not listen on port $2"
    sleep 0.05
  done
}

if [ -n "$lab" ]; then
  own='lab.services.find((s) => s.name === "iperf3" && s.webServer === false)'
  service=$(lab_record "$lab" "const s = $own; s ? s.address + ' ' + s.ports[0] : ''")
  if [ -n "$service" ]; then
    host=${service% *} port=${service#* }
    machines=$(lab_record "$lab" 'Object.keys(lab.hosts).filter((h) => /^(server|r\d+)$/.test(h)).join(" ")')
    say 'through firstack'
  else
    host=$(lab_record "$lab" 'lab.services[0].address') port=5201 machines=server
    say 'by plain routing: this laboratory has no service named iperf3 (see --help)'
  fi
  for machine in $machines; do serve "$machine" "$port"; done
else
  host=${target%:*} port=${target##*:}
  [ "$port" != "$target" ] || port=5201
  whole PORT "$port"
fi

set -- iperf3 -c "$host" -p "$port" -t "$seconds" -P "$flows"
[ "$up" = yes ] || set -- "$@" -R
[ "$json" = no ] || set -- "$@" -J
say "$*"
if [ -n "$lab" ]; then
  (on "$lab" client "$@")
else
  "$@"
fi
