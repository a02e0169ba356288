#!/bin/bash
# Builds single programs of a release that build.sh has not, once per set of sources, into the user's cache, and prints
# the directory, in which there is also everything of build.sh. Returns at once when they are there.
#
#   release.sh 1.37 [kube-apiserver] [kubelet]
#   release.sh 1.28|1.30 kubelet
#
# Environment: EDGE_HUB_CACHE (default: ${XDG_CACHE_HOME:-$HOME/.cache}/edge-hub)
# Its programs end with the release, such as kubelet-1.37. Under such a name there are as well the kube-proxy and the
# controllers of the nearest release that build.sh has: one behind, as in a cluster that is being upgraded.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${EDGE_HUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-hub}
release=$1
shift
case $release in
1.37) nearest=1.36 controllers=kube-controller-manager ;;
1.28 | 1.30) nearest=1.34 controllers=kube-controller-manager-1.34 ;;
*) echo "release.sh: no release $release" >&2; exit 2 ;;
esac

key=$(
  cd "$here"
  { go version && find -L release.sh "v${release/./}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-16
)
others=$("$here/build.sh")
out=$cache/release-$release-$key

mkdir -p "$out"
exec 9>"$out.lock"
flock 9 # a second run waits for the first, and then finds its work done
for program in "$others"/*; do ln -sfn "$program" "$out/"; done
ln -sfn "$others/kube-proxy-$nearest" "$out/kube-proxy-$release"
ln -sfn "$others/$controllers" "$out/kube-controller-manager-$release"
for program in "$@"; do
  [ ! -x "$out/$program-$release" ] || continue
  echo "building $program $release into $out (5 to 10 minutes the first time)" >&2
  BIN=$out SUFFIX=-$release.new "$here/v${release/./}/build.sh" "$program" 9>&- >&2
  mv "$out/$program-$release.new" "$out/$program-$release"
done
echo "$out"
