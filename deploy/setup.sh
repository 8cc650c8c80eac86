#!/bin/sh
# Installs what is missing and builds. Safe to run again: what is already there is left alone.
# Starts no system service: Debian's postinst scripts would, so a policy forbids it while they run,
# and a service that only this script brought in is not enabled for the next boot either.
# Usage: setup.sh [--build-only]
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

# command=package
needs='ip=iproute2 nft=nftables redis-server=redis-server nginx=nginx curl=curl tcpdump=tcpdump
ping=iputils-ping nsenter=util-linux sysctl=procps gcc=gcc make=make
clang=clang bpftool=bpftool haproxy=haproxy wrk=wrk h2load=nghttp2-client iperf3=iperf3
debootstrap=debootstrap ssh=openssh-client openssl=openssl bird=bird2 keepalived=keepalived
conntrackd=conntrackd'
# file=package
headers='/usr/include/bpf/bpf_helpers.h=libbpf-dev'

require_node() {
  version=$(node -p process.versions.node 2>/dev/null) || version='none'
  major=${version%%.*} minor=${version#*.}
  minor=${minor%%.*}
  case "$version" in
    none) ;;
    *) [ "$major" -lt 20 ] || { [ "$major" = 20 ] && [ "$minor" -lt 19 ]; } || return 0 ;;
  esac
  say "Node 20.19 or newer is needed; found: $version"
  exit 1
}

install_debian() {
  missing=''
  for pair in $needs; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing="$missing ${pair#*=}"
  done
  for pair in $headers; do
    [ -e "${pair%%=*}" ] || missing="$missing ${pair#*=}"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    say "FSA_PERMISSION: missing Debian packages:$missing (run as root to install them)"
    exit 77
  fi
  say "Debian packages:$missing"
  policy=/usr/sbin/policy-rc.d
  kept=''
  if [ -e "$policy" ]; then
    kept="$policy.firstack-kept"
    mv "$policy" "$kept"
  fi
  trap 'rm -f "$policy"; [ -z "$kept" ] || mv "$kept" "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    say 'apt-get failed'
    exit 1
  fi
  rm -f "$log" "$policy"
  [ -z "$kept" ] || mv "$kept" "$policy"
  trap - EXIT INT TERM
  # The service of bird2 is called bird.
  for package in redis-server nginx nftables haproxy iperf3 bird2 keepalived conntrackd; do
    case " $missing " in
      *" $package "*) update-rc.d "${package%2}" disable >/dev/null 2>&1 || true ;;
    esac
  done
}

install_npm() {
  want=$(cksum <package-lock.json)
  if [ -f node_modules/.firstack-lock ] && [ "$(cat node_modules/.firstack-lock)" = "$want" ]; then
    return 0
  fi
  say 'npm packages: npm ci'
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  rm -f node_modules/.bin/node
  printf '%s' "$want" >node_modules/.firstack-lock
}

# npm puts node_modules/.bin first on the PATH of every script; in scripts `node` is the host's, not the shipped one.
rm -f node_modules/.bin/node
require_node
case "${1:-}" in
  '') install_debian ;;
  --build-only) ;;
  *) say "usage: setup.sh [--build-only]"; exit 2 ;;
esac
install_npm
say 'build: addons (gcc), eBPF programs (clang) and TypeScript (tsc)'
npm run -s build >&2
