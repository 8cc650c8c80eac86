#!/bin/sh
# npm run package: makes build/firstack_VERSION_ARCH.deb. All that the roles run stands inside: the build, the
# npm packages that it needs, and this machine's own node; a host that installs it needs neither npm nor gcc.
# The same sources make the same bytes: owners, modes and times come from here, the time from SOURCE_DATE_EPOCH
# or the last commit.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'package: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

[ -d node_modules/typescript ] || sh deploy/setup.sh --build-only
npm run -s build >&2
[ -f dist/bpf/firstack.bpf.o ] || fail 'the eBPF programs are not built: apt-get install clang libbpf-dev'

version=$(node -p 'require("./package.json").version')
arch=$(dpkg --print-architecture)
node=$(node -p process.execPath)
if ldd "$node" | grep -qE 'libnode|libuv|libicu|libssl'; then
  fail "$node needs libraries of its own beside it: build with Node's official binary, or one packaged like it"
fi
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y package.json)}
export SOURCE_DATE_EPOCH="$epoch"

out=build
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
trap 'exit 130' INT TERM
umask 022
chmod 755 "$root"
lib=$root/usr/lib/firstack
doc=$root/usr/share/doc/firstack

mkdir -p "$lib/bin" "$lib/src/lab" "$doc/examples" "$root/usr/bin" "$root/lib/systemd/system" "$root/DEBIAN"
cp "$node" "$lib/bin/node"
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

cp README.md CHANGELOG.md "$doc/"
cp deploy/README.md "$doc/operators-guide.md"
cp deploy/examples/* "$doc/examples/"
{
  cat LICENSE
  printf '\nNode.js in /usr/lib/firstack/bin: LICENSE.node. Each package in /usr/lib/firstack/node_modules: its own licence.\n'
} >"$doc/copyright"
for licence in "$(dirname "$node")/../LICENSE" "$(dirname "$node")/../share/doc/nodejs/LICENSE"; do
  [ ! -f "$licence" ] || cp "$licence" "$doc/LICENSE.node"
done
cp deploy/debian/prepare-bpffs deploy/debian/handover "$lib/"
cp deploy/debian/firstack "$root/usr/bin/firstack"
cp deploy/systemd/*.service "$root/lib/systemd/system/"
cp deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$root/DEBIAN/"

libc=$(dpkg-query -W -f '${Version}' libc6 | sed 's/-.*//')
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -exec chmod 644 {} +
chmod 755 "$lib/bin/node" "$lib/prepare-bpffs" "$lib/handover" "$root/usr/bin/firstack" "$root"/DEBIAN/*
cat >"$root/DEBIAN/control" <<CONTROL
Package: firstack
Version: $version
Architecture: $arch
Maintainer: firstack <firstack@localhost>
Section: net
Priority: optional
Installed-Size: $(find "$root" -type f -printf '%s\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
Depends: libc6 (>= $libc), libgcc-s1, libstdc++6, iproute2, nftables, passwd
Recommends: bpftool
Suggests: redis-server
Description: wide-area replica load balancer
 A client opens an ordinary TCP connection; copies of its SYN race to every replica of the service, and the
 machine whose acknowledgement comes back first carries the connection. Three roles: gateway, origin, replica.
CONTROL
chmod 644 "$root/DEBIAN/control"
(cd "$root" && find usr lib -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$root" -exec touch -h -d "@$epoch" {} +

mkdir -p "$out"
deb=$out/firstack_${version}_$arch.deb
dpkg-deb --root-owner-group -Zzstd -z10 --build "$root" "$deb.new" >/dev/null
mv "$deb.new" "$deb"
printf '%s\n' "$deb"
