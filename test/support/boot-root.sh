#!/bin/sh
# boot-root.sh ROOT NETNS CGROUP HOSTNAME: boots the Debian in ROOT like a separate machine: its systemd is process 1
# of new pid, mount, uts, ipc and cgroup namespaces, in an existing network namespace. It uses only util-linux, so
# that it works beside any init. systemd-nspawn needs the host's own systemd and its bus to make a scope; with
# --keep-unit it boots without them, but then all guests of one caller share one cgroup (tried).
#
#   nsenter --net ─ unshare ─ (mounts: /proc /sys /dev /run, a bpffs, a cgroup2) ─ pivot_root ─ systemd
#
# All mounts are in the new mount namespace, so they end with its last process.
set -eu
if [ "${1:-}" != inside ]; then
  root=$1 namespace=$2 cgroup=$3 name=$4
  mkdir -p "$cgroup"
  echo $$ >"$cgroup/cgroup.procs"
  exec nsenter --net="$namespace" unshare --mount --pid --uts --ipc --cgroup --fork --kill-child \
    sh "$0" inside "$root" "$name"
fi

root=$2 name=$3
hostname "$name"
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
# As systemd mounts it on a machine: accessible to root only.
mount -t bpf -o nosuid,nodev,noexec,mode=700 bpf sys/fs/bpf
# The guest must not change settings that belong to the machine and not to a namespace.
mount --bind proc/sys proc/sys
mount --bind proc/sys/net proc/sys/net
mount -o remount,bind,ro proc/sys
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount -t tmpfs -o nosuid,mode=755 tmpfs dev
mkdir dev/pts dev/shm dev/net
for node in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0' 'net/tun 10 200'; do
  # shellcheck disable=SC2086
  set -- $node
  mknod -m 666 "dev/$1" c "$2" "$3"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for n in 0 1 2; do ln -s "/proc/self/fd/$n" "dev/$(echo stdin stdout stderr | cut -d ' ' -f $((n + 1)))"; done
mount -t tmpfs -o nosuid,nodev tmpfs dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs run
mount -t tmpfs -o nosuid,nodev tmpfs tmp
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt && exec env -i container=firstack-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog,-mac_admin,-mac_override \
  /lib/systemd/systemd --show-status=no'
