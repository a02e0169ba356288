#!/bin/bash
# Builds the client programs that are not Go, each from its own lock file, into the user's cache, and prints the
# directory with the programs.
set -euo pipefail
cd "$(dirname "$0")"
target=${EDGE_HUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-hub}/clients
cargo build --quiet --locked --manifest-path kube-rs/Cargo.toml --target-dir "$target" </dev/null >&2
echo "$target/debug"
