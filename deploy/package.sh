#!/bin/sh
# npm run package: makes build/firstack_VERSION_ARCH.deb. All that the roles run stands inside: the build, the
# npm packages that it needs, and the node that package-lock.json pins; a host that installs it needs neither npm
# nor gcc.
# The same sources make the same bytes: owners, modes and times come from here, the time from SOURCE_DATE_EPOCH
# or the last commit.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

say() { printf 'package: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

. deploy/node.sh
[ -n "$shipped" ] || sh deploy/setup.sh --build-only
. deploy/node.sh
[ -n "$shipped" ] || fail "no node to ship: npm has not installed node-linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')"
npm run -s build >&2
[ -f dist/bpf/race.bpf.o ] || fail 'the eBPF hooks are not built: apt-get install clang libbpf-dev'

version=$(node -p 'require("./package.json").version')
arch=$(dpkg --print-architecture)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y package.json)}
export SOURCE_DATE_EPOCH="$epoch"

out=build
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
trap 'exit 130' INT TERM
umask 022
chmod 755 "$tree"
lib=$tree/usr/lib/firstack
doc=$tree/usr/share/doc/firstack

mkdir -p "$lib/bin" "$lib/src/lab" "$doc/examples" "$tree/usr/bin" "$tree/lib/systemd/system" "$tree/DEBIAN"
cp "$shipped" "$lib/bin/node"
cp -R dist "$lib/dist"
# The build leaves what sources that are gone were compiled to.
(cd "$lib/dist" && find . -name '*.js') | while read -r file; do
  [ -f "${file%.js}.ts" ] || rm "$lib/dist/$file"
done
cp -R src/lab/topologies "$lib/src/lab/"
cp package.json "$lib/"
# What package-lock.json says that the roles need at run time; what is optional there speeds up nothing here.
node -e '
  for (const [path, p] of Object.entries(require("./package-lock.json").packages))
    if (path !== "" && !p.dev && !p.optional && !/node_modules\/.*node_modules\//.test(path)) console.log(path)' |
  while read -r path; do
    mkdir -p "$lib/$(dirname "$path")"
    cp -R "$path" "$lib/$path"
  done
find "$lib" '(' -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' ')' -delete

mkdir -p "$tree/usr/share/man/man1" "$tree/usr/share/bash-completion/completions"
node dist/src/cli.js man | gzip -9n >"$tree/usr/share/man/man1/firstack.1.gz"
node dist/src/cli.js completion >"$tree/usr/share/bash-completion/completions/firstack"
cp README.md CHANGELOG.md "$doc/"
cp deploy/README.md "$doc/operators-guide.md"
cp deploy/examples/* "$doc/examples/"
{
  cat LICENSE
  printf '\nNode.js in /usr/lib/firstack/bin: LICENSE.node. Each package in /usr/lib/firstack/node_modules: its own licence.\n'
} >"$doc/copyright"
cp "$(dirname "$shipped")/../LICENSE" "$doc/LICENSE.node"
cp deploy/debian/prepare-bpffs deploy/debian/handover "$lib/"
cp deploy/debian/firstack "$tree/usr/bin/firstack"
cp deploy/systemd/*.service "$tree/lib/systemd/system/"
cp deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$tree/DEBIAN/"

libc=$(dpkg-query -W -f '${Version}' libc6 | sed 's/-.*//')
find "$tree" -type d -exec chmod 755 {} +
find "$tree" -type f -exec chmod 644 {} +
chmod 755 "$lib/bin/node" "$lib/prepare-bpffs" "$lib/handover" "$tree/usr/bin/firstack" "$tree"/DEBIAN/*
cat >"$tree/DEBIAN/control" <<CONTROL
Package: firstack
Version: $version
Architecture: $arch
Maintainer: firstack <firstack@localhost>
Section: net
Priority: optional
Installed-Size: $(find "$tree" -type f -printf '%s\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
Depends: libc6 (>= $libc), libgcc-s1, libstdc++6, iproute2, nftables, passwd
Recommends: bpftool
Suggests: redis-server
Description: wide-area replica load balancer
 A client opens an ordinary TCP connection; copies of its SYN race to every replica of the service, and the
 machine whose acknowledgement comes back first carries the connection. Three roles: gateway, origin, replica.
CONTROL
chmod 644 "$tree/DEBIAN/control"
(cd "$tree" && find usr lib -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$tree" -exec touch -h -d "@$epoch" {} +

mkdir -p "$out"
deb=$out/firstack_${version}_$arch.deb
dpkg-deb --root-owner-group -Zzstd -z10 --build "$tree" "$deb.new" >/dev/null
mv "$deb.new" "$deb"
printf '%s\n' "$deb"
