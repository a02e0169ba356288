#!/bin/bash
# Builds or installs the client programs that are not the control plane's own, each from its own lock file, into the
# user's cache, and prints the directory with the programs: kube-rs-watcher, client-go, python-watcher, js-watcher.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
target=${EDGE_HUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-hub}/clients
mkdir -p "$target/bin"
exec 9>"$target/lock" </dev/null
flock 9 # a second run waits for the first, and then finds its work done

cargo build --quiet --locked --manifest-path kube-rs/Cargo.toml --target-dir "$target" 9>&- >&2
ln -sf "$target/debug/kube-rs-watcher" "$target/bin/kube-rs-watcher"

(cd go && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "-s -w" -o "$target/bin/client-go" .) 9>&- >&2

# What these two are made of is installed once for each lock file.
installed() { # folder, lock file
  local key
  key=$(sha256sum <"$2" | cut -c1-16)
  [ "$(cat "$target/$1/key" 2>/dev/null)" = "$key" ] && return
  rm -rf "${target:?}/$1"
  mkdir -p "$target/$1"
  "install_$1" >&2
  echo "$key" >"$target/$1/key"
}
install_python() {
  python3 -m pip install --quiet --no-input --no-deps --root-user-action=ignore --target "$target/python" \
    -r "$here/python/requirements.txt"
}
install_js() {
  cp js/package.json js/package-lock.json "$target/js"
  (cd "$target/js" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}
installed python python/requirements.txt
installed js js/package-lock.json
cp js/watcher.mjs "$target/js"
printf '#!/bin/sh\nPYTHONPATH=%q exec python3 %q "$@"\n' "$target/python" "$here/python/watcher.py" >"$target/bin/python-watcher"
printf '#!/bin/sh\nexec node %q "$@"\n' "$target/js/watcher.mjs" >"$target/bin/js-watcher"
chmod +x "$target/bin/python-watcher" "$target/bin/js-watcher"
echo "$target/bin"
