# What:   what the scripts of ci/ share: where things are, how they speak. Sourced, never run.
# Needs:  bash; the sourcing script has set -euo pipefail.
# Result: $root (the tree, also the working directory), $cache, $triple, say, die, as_root.
# shellcheck shell=bash disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit
cache=${XDG_CACHE_HOME:-$HOME/.cache}/openwatch-lab
triple=$(uname -m)-unknown-linux-gnu
export PATH=$HOME/.cargo/bin:$cache/zig/bin:$PATH

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
