# Sourced by the scripts of this folder: what they need from the machine, and where the project is.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

# Debian packages that the build links against, and those that the tests use.
build_packages="libzmq3-dev libprotobuf-c-dev libmicrohttpd-dev libpcre2-dev nettle-dev"
[ "$(uname -m)" != x86_64 ] || build_packages="$build_packages libipsec-mb-dev"
test_packages="protobuf-c-compiler python3 python3-venv git valgrind iproute2"
# An emulator of aarch64, and what programs for it are linked with.
emulation_packages="qemu-user libc6-dev-arm64-cross libgcc-12-dev-arm64-cross"

say() { printf '==> %s\n' "$*"; }

# install PACKAGE…: installs what is missing, through sudo where this user is not root.
install() {
    local missing="" package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    local sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

require_swift() {
    command -v swift >/dev/null || {
        echo "no 'swift' on the PATH: install a Swift toolchain, 6.1 or newer, from swift.org/install" >&2
        exit 1
    }
}

# Installs what the measurements need, builds the command, and names it in SHOAL.
build_shoal() {
    # shellcheck disable=SC2086
    install $build_packages python3
    require_swift
    swift build -c release --product shoal >/dev/null
    SHOAL="$(swift build -c release --show-bin-path)/shoal"
    export SHOAL
}

# The full-size gpt-oss-20b with random weights in folder $1, made where it is missing (13.8 GB); TOKENIZER may name a
# tokenizer.json of o200k_harmony for it.
synthesise_full_size() {
    [ ! -f "$1/config.json" ] || return 0
    local start file
    start=$(date +%s)
    "$SHOAL" synthesize --preset gpt-oss-20b --out "$1" ${TOKENIZER:+--tokenizer "$TOKENIZER"}
    say "synthesised in $(($(date +%s) - start)) s"
    # What was written lies in memory in small pages; what is read again comes in large ones.
    sync "$1"/*.safetensors
    for file in "$1"/*.safetensors; do dd if="$file" iflag=nocache count=0 status=none; done
}
cache=${SHOAL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shoal}
full_size=$cache/gpt-oss-20b-synthetic

# The folder of the toolchain's commands.
toolchain() {
    dirname "$(readlink -f "$(command -v swift)")"
}

# clang ARGUMENT…: the toolchain's own, whatever other is on the PATH; Debian's is too old for the kernels.
clang() {
    "$(toolchain)/clang" "$@"
}

# The virtual environment with the clients that the tests use, in .venv.
prepare_python() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 || python3 -m venv --clear .venv
    .venv/bin/pip install --quiet --disable-pip-version-check -r cluster/e2e/requirements.txt
}

# A command that runs another, which ends with the script that started it, however that ends.
ending_with_this="setpriv --pdeathsig KILL"

# prepare_hosts DIR: what cluster/lib/network.py needs for hosts of their own namespaces. Afterwards `isolated` is a command
# that runs another in a world of processes, networks and mounts that ends with it, and `cable` the program for its network,
# built in DIR; where this machine does not permit it there is no such world, and `cable` is empty. Either ends with the script.
prepare_hosts() {
    cable=$1/cable
    clang -std=gnu17 -O2 -Wall -Wextra -o "$cable" cluster/lib/cable.c
    local mapped
    for mapped in "" --map-root-user; do
        isolated="$ending_with_this unshare $mapped --net --pid --mount --fork --kill-child --mount-proc"
        # shellcheck disable=SC2086
        [ "$($isolated "$cable" 0 2 </dev/null 2>/dev/null)" != ready ] || return 0
    done
    isolated=$ending_with_this cable=""
}
