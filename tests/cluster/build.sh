#!/bin/bash
# Builds the control plane, the node's programs, the informer and the images, once per set of sources, into the user's
# cache, and prints the directory. Returns at once when it is there.
#
#   build.sh            build when needed, print the directory
#   build.sh key        print only the directory's name
#
# Environment: EDGE_HUB_CACHE (default: ${XDG_CACHE_HOME:-$HOME/.cache}/edge-hub)
# What is in it: etcd kube-apiserver kube-controller-manager kubectl informer kubelet-1.36 kube-proxy-1.36, and with the
# suffix -1.34 kube-apiserver kube-controller-manager kubectl kubelet kube-proxy; image/{pause,app,informer,coredns}.tar
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${EDGE_HUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-hub}

# Names and contents of everything that decides what comes out, and nothing that does not (no times, no places).
key() {
  (
    cd "$here"
    go version
    find build.sh v136 v134 coredns image -type f ! -name '*.tar' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  ) | sha256sum | cut -c1-16
}

out=$cache/cluster-$(key)
if [ "${1:-}" = key ] || [ -f "$out/complete" ]; then
  echo "$out"
  exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/cluster.lock"
flock 9 # a second run waits for the first, and then finds its work done
if [ ! -f "$out/complete" ]; then
  echo "building the test cluster into $out (10 to 20 minutes the first time)" >&2
  new=$(mktemp -d "$cache/cluster-new.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  {
    BIN=$new "$here/v136/build.sh" etcd kubectl kube-apiserver kube-controller-manager informer
    BIN=$new SUFFIX=-1.36 "$here/v136/build.sh" kubelet kube-proxy
    BIN=$new SUFFIX=-1.34 "$here/v134/build.sh" kubelet kube-proxy kube-apiserver kube-controller-manager kubectl
    (cd "$here/coredns" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "-s -w" -o "$new/coredns" .)
    BIN=$new OUT=$new/image "$here/image/build.sh"
  } 9>&- >&2 # a compiler that outlives this script must not keep the lock
  rm "$new"/coredns "$new"/image/pause "$new"/image/app-bin
  touch "$new/complete"
  rm -rf "$out" # left by a machine that lost power between the rename and the writing back
  chmod 755 "$new"
  mv -T "$new" "$out"
fi
echo "$out"
