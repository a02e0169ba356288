#!/bin/bash
# Builds OpenWrt's uci and jshn for this machine, once, into the user's cache, and prints a root folder with them and
# their shell libraries where a router has them.
set -euo pipefail
cd "$(dirname "$0")"
cache=${EDGE_HUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-hub}
out=$cache/uci-$(cat build.sh Cargo.lock | sha256sum | cut -c1-16)
if [ ! -f "$out/complete" ]; then
  from=$(cargo metadata --locked --format-version 1 | python3 -c '
import json, os, sys
print(*[os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "libuci-sys"])')
  rm -rf "$out"
  mkdir -p "$out/root"/{sbin,usr/bin,lib/config,lib/functions,usr/share/libubox} "$out/src"
  cp -r "$from/uci" "$from/libubox" "$out/src/"
  : >"$out/src/uci/uci_config.h"
  cd "$out/src"
  common="-static -Os -std=gnu99 -D_GNU_SOURCE -I. -Iuci -w"
  gcc $common -DUCI_PREFIX='"/usr"' -o "$out/root/sbin/uci" uci/{cli,libuci,file,util,delta,parse,blob}.c \
    libubox/{avl,avl-cmp,blob,blobmsg,utils,md5}.c >&2
  gcc $common -DJSONC -I/usr/include/json-c -o "$out/root/usr/bin/jshn" libubox/{jshn,avl,avl-cmp,blob,blobmsg,blobmsg_json,utils}.c -ljson-c >&2
  cp libubox/sh/jshn.sh "$out/root/usr/share/libubox/"
  cp uci/sh/uci.sh "$out/root/lib/config/"
  touch "$out/complete"
fi
echo "$out/root"
