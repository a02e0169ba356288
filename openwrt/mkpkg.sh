#!/bin/bash
# Packs a program that is built already for OpenWrt: an .ipk for 24.10 and before, and, where apk-tools 3 is at hand, an
# .apk for 25.12 and after. The same program gives the same bytes.
#
#   openwrt/mkpkg.sh PROGRAM ARCH OUT      ARCH: as the device says, opkg print-architecture or cat /etc/apk/arch
#
# One static program serves many: armv7 all of arm_cortex-a*, aarch64 all of aarch64_*, x86_64 x86_64.
set -euo pipefail
program=$(realpath "$1") arch=$2 out=$3
cd "$(dirname "$0")/.."
case $arch in
arm_cortex-a* | aarch64_* | x86_64) ;;
*) echo "openwrt/mkpkg.sh: no program for $arch is built here" >&2; exit 2 ;;
esac

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
release=$(sed -n 's/^PKG_RELEASE:=//p' openwrt/edge-hub/Makefile)
# A version of Cargo's with a hyphen has an underscore there.
full=${version/-/_}-r$release
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=$work/data files=openwrt/edge-hub/files
umask 022

put() { # mode, file, where
  mkdir -p "$data/$(dirname "$3")"
  install -m "$1" "$2" "$data/$3"
}
put 755 "$program" usr/bin/edge-hub
put 755 $files/edge-hub.init etc/init.d/edge-hub
put 600 $files/edge-hub.config etc/config/edge-hub
put 755 $files/edge-hub.defaults etc/uci-defaults/50-edge-hub
put 644 $files/edge-hub.hotplug etc/hotplug.d/iface/90-edge-hub
put 644 $files/edge-hub.capabilities etc/capabilities/edge-hub.json
put 644 $files/edge-hub.nft usr/share/nftables.d/chain-pre/input/edge-hub.nft
# What a sysupgrade keeps beside /etc/config: certificates and the hub's own CA, never the cache.
mkdir -p "$data/lib/upgrade/keep.d"
echo /etc/edge-hub/ >"$data/lib/upgrade/keep.d/edge-hub"

# What every package's scripts are: OpenWrt's own do the work, and know when there is no live system.
scripts=$work/scripts
mkdir -p "$scripts"
for script in postinst:default_postinst prerm:default_prerm; do
  cat >"$scripts/${script%%:*}" <<SCRIPT
#!/bin/sh
[ "\${IPKG_NO_SCRIPT}" = "1" ] && exit 0
[ -s \${IPKG_INSTROOT}/lib/functions.sh ] || exit 0
. \${IPKG_INSTROOT}/lib/functions.sh
${script#*:} \$0 \$@
SCRIPT
  chmod 755 "$scripts/${script%%:*}"
done

describe="Keeps a Kubernetes node working without its API server"
mkdir -p "$out"

tarball() { # folder, names...
  local from=$1
  shift
  tar --format=gnu --numeric-owner --owner=0 --group=0 --sort=name "--mtime=@$epoch" -C "$from" -cf - "$@" | gzip -n9
}

ipk() {
  local control=$work/control
  mkdir "$control"
  tarball "$data" . >"$work/data.tar.gz"
  cat >"$control/control" <<CONTROL
Package: edge-hub
Version: $full
Depends: libc, jshn
License: Apache-2.0
Section: net
Architecture: $arch
SourceDateEpoch: $epoch
Installed-Size: $(gzip -dc "$work/data.tar.gz" | wc -c)
Description:  $describe
CONTROL
  echo /etc/config/edge-hub >"$control/conffiles"
  cp -p "$scripts"/* "$control/"
  tarball "$control" . >"$work/control.tar.gz"
  echo 2.0 >"$work/debian-binary"
  tarball "$work" ./debian-binary ./data.tar.gz ./control.tar.gz >"$out/edge-hub_${full}_$arch.ipk"
  echo "$out/edge-hub_${full}_$arch.ipk $(stat -c %s "$out/edge-hub_${full}_$arch.ipk")"
}

apk_v3() {
  local list=$data/lib/apk/packages
  mkdir -p "$list"
  echo /etc/config/edge-hub >"$list/edge-hub.conffiles"
  echo "/etc/config/edge-hub $(sha256sum "$data/etc/config/edge-hub" | cut -d' ' -f1)" >"$list/edge-hub.conffiles_static"
  (cd "$data" && find . -type f -o -type l | sed 's/^\.//' | LC_ALL=C sort) >"$list/edge-hub.list"
  find "$data" -exec touch -hd "@$epoch" {} +
  SOURCE_DATE_EPOCH=$epoch apk mkpkg --info name:edge-hub --info "version:$full" --info "description:$describe" \
    --info "arch:$arch" --info license:Apache-2.0 --info origin:edge-hub --info depends:"libc jshn" \
    --script "post-install:$scripts/postinst" --script "post-upgrade:$scripts/postinst" --script "pre-deinstall:$scripts/prerm" \
    --files "$data" --output "$out/edge-hub-$full.apk"
  echo "$out/edge-hub-$full.apk $(stat -c %s "$out/edge-hub-$full.apk")"
}

ipk
if apk mkpkg --help 2>&1 | grep -q -- --info; then
  apk_v3
else
  echo "openwrt/mkpkg.sh: no apk-tools 3 here, so no .apk" >&2
fi
