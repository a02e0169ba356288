#!/bin/bash
# Packs a program that is built already for OpenWrt: an .ipk for 24.10 and before, and, where apk-tools 3 is at hand, an
# .apk for 25.12 and after. The same program gives the same bytes.
#
#   openwrt/mkpkg.sh PROGRAM ARCH OUT      ARCH: as the device says, opkg print-architecture or cat /etc/apk/arch
#
# One static program serves many: armv7 all of arm_cortex-a* that have an FPU, aarch64 all of aarch64_*, x86_64 x86_64.
set -euo pipefail
refuse() {
  echo "openwrt/mkpkg.sh: $*" >&2
  exit 2
}
[ $# = 3 ] || refuse "what to pack is said by three words: PROGRAM ARCH OUT"
[ -f "$1" ] || refuse "$1: there is no such file; cross/build makes one"
program=$(realpath "$1") arch=$2 out=$(realpath -m "$3")
cd "$(dirname "$0")/.."
# ELF's class and machine.
case $arch in
arm_cortex-a*_neon* | arm_cortex-a*_vfp*) kind='7f454c4601*2800' ;;
aarch64_*) kind='7f454c4602*b700' ;;
x86_64) kind='7f454c4602*3e00' ;;
arm_cortex-a*) refuse "the program for armv7 needs an FPU, which $arch has not" ;;
*) refuse "no program for $arch is built here" ;;
esac
# shellcheck disable=SC2254
case $(od -An -v -tx1 -N 20 "$program" | tr -d ' \n') in
$kind) ;;
*) refuse "$1 is no program for $arch" ;;
esac

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
release=$(sed -n 's/^PKG_RELEASE:=//p' openwrt/edge-hub/Makefile)
# A version of Cargo's with a hyphen has an underscore there.
full=${version/-/_}-r$release
# An archive of the source has no date. A checkout has one, also where git refuses to tell it: other bytes would come out.
epoch=${SOURCE_DATE_EPOCH:-$(if [ -e .git ]; then git log -1 --format=%ct; else echo 0; fi)}
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

# What every package's scripts are, as OpenWrt's build writes them: its own functions do the work, and know when there is
# no live system. Those of .apk cannot tell the package's name from their own.
write_script() { # file, what of the Makefile, lines...
  local into=$work/$1 of=$2
  shift 2
  mkdir -p "$(dirname "$into")"
  {
    printf '%s\n' '#!/bin/sh' "$@"
    sed -n '/^define Package\/edge-hub\/'"$of"'$/,/^endef$/{/^define/d;/^endef/d;/^#!/d;s/\$\$/$/g;p}' openwrt/edge-hub/Makefile
  } >"$into"
  chmod 755 "$into"
}
# shellcheck disable=SC2016
functions=('[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0' '[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0' '. ${IPKG_INSTROOT}/lib/functions.sh')
# shellcheck disable=SC2016
named=('export root="${IPKG_INSTROOT}"' 'export pkgname="edge-hub"')

describe="Keeps a Kubernetes node working without its API server"
mkdir -p "$out"

tarball() { # folder, names...
  local from=$1
  shift
  tar --format=gnu --mode=ug-s --numeric-owner --owner=0 --group=0 --sort=name "--mtime=@$epoch" -C "$from" -cf - "$@" | gzip -n9
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
  # shellcheck disable=SC2016
  write_script control/postinst - "${functions[@]}" 'default_postinst $0 $@'
  # shellcheck disable=SC2016
  write_script control/prerm - "${functions[@]}" 'default_prerm $0 $@'
  write_script control/postinst-pkg postinst
  write_script control/postrm postrm
  tarball "$control" . >"$work/control.tar.gz"
  echo 2.0 >"$work/debian-binary"
  tarball "$work" ./debian-binary ./data.tar.gz ./control.tar.gz >"$out/edge-hub_${full}_$arch.ipk"
  echo "$out/edge-hub_${full}_$arch.ipk $(stat -c %s "$out/edge-hub_${full}_$arch.ipk")"
}

apk_v3() {
  local list=$data/lib/apk/packages scripts=() script
  mkdir -p "$list"
  echo /etc/config/edge-hub >"$list/edge-hub.conffiles"
  echo "/etc/config/edge-hub $(sha256sum "$data/etc/config/edge-hub" | cut -d' ' -f1)" >"$list/edge-hub.conffiles_static"
  (cd "$data" && find . -type f -o -type l | sed 's/^\.//' | LC_ALL=C sort) >"$list/edge-hub.list"
  write_script apk/post-install postinst "${functions[@]}" "${named[@]}" add_group_and_user default_postinst
  write_script apk/post-upgrade postinst 'export PKG_UPGRADE=1' "${functions[@]}" "${named[@]}" add_group_and_user default_postinst
  write_script apk/pre-deinstall - "${functions[@]}" "${named[@]}" default_prerm
  write_script apk/post-deinstall postrm
  find "$data" -exec touch -hd "@$epoch" {} +
  for script in "$work"/apk/*; do scripts+=(--script "${script##*/}:$script"); done
  SOURCE_DATE_EPOCH=$epoch apk mkpkg --info name:edge-hub --info "version:$full" --info "description:$describe" \
    --info "arch:$arch" --info license:Apache-2.0 --info origin:edge-hub --info depends:"libc jshn" \
    "${scripts[@]}" --files "$data" --output "$out/edge-hub-$full.apk"
  echo "$out/edge-hub-$full.apk $(stat -c %s "$out/edge-hub-$full.apk")"
}

ipk
# Its help ends with 1.
case $(apk mkpkg --help 2>&1 || true) in
*--info*) apk_v3 ;;
*) echo "openwrt/mkpkg.sh: no apk-tools 3 here, so no .apk" >&2 ;;
esac
