# Read with `.`, with the checkout in $root. Sets $shipped: the node that the package ships, from npm's package
# node-linux-ARCH; empty where npm has not installed it.
for shipped in "$root"/node_modules/node-linux-*/bin/node; do
  [ -x "$shipped" ] || shipped=''
done
