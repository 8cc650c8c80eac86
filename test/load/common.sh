# Functions for the scripts in this directory: find firstack, check installed tools, read a laboratory's record.
# shellcheck shell=sh

root=$(cd "$(dirname "$0")/../.." && pwd)
firstack() { sh "$root/deploy/firstack.sh" "$@"; }
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# fail STATUS TEXT
fail() {
  say "$2"
  exit "$1"
}

# Prints the script's own header, from its second line to the first line that is no comment.
usage() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"
}

# misused TEXT: prints TEXT and the usage, and ends
misused() {
  say "$1"
  usage >&2
  exit 2
}

# need COMMAND PACKAGE
need() {
  command -v "$1" >/dev/null 2>&1 ||
    fail 69 "$1 is not installed; on Debian: apt-get install --no-install-recommends $2"
}

# whole OPTION VALUE: checks that the value is a whole number from 1
whole() {
  case "$2" in
    '' | *[!0-9]* | 0*) misused "$1 '$2': a whole number from 1" ;;
  esac
}

# lab_record NAME EXPRESSION: prints the value of an expression over the laboratory's record `lab`
lab_record() {
  [ "$(id -u)" = 0 ] || fail 77 "FSA_PERMISSION: a laboratory's namespaces belong to root"
  record="/run/firstack/lab/$1/state.json"
  [ -f "$record" ] || fail 78 "FSA_LAB_UNKNOWN: no laboratory '$1' (firstack lab up --name $1)"
  node -p "const lab = JSON.parse(require('fs').readFileSync(process.argv[1])); $2" "$record"
}

# The URL of a laboratory's first service: lab_url NAME PATH
lab_url() {
  service=$(lab_record "$1" '`${lab.services[0].address}:${lab.services[0].ports[0]}`') || exit
  printf 'http://%s%s\n' "$service" "$2"
}

# on NAME HOST COMMAND...: replaces this process by a command on a host of a laboratory
on() {
  namespace="/run/netns/fs-$1-$2"
  shift 2
  exec nsenter --net="$namespace" -- "$@"
}
