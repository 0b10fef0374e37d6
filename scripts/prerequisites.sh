#!/usr/bin/env bash
# Sees to what building needs: installs the pinned toolchain where rustup can, and says exactly what is missing otherwise.
#
#   scripts/prerequisites.sh                     to build and to test
#   scripts/prerequisites.sh rustfmt clippy      and these components
#   scripts/prerequisites.sh servers             and the Kafka and the PostgreSQL that tests run against
#   scripts/prerequisites.sh cluster             and these, and the Kubernetes
#   scripts/prerequisites.sh some_cluster        as with servers, where one can be had: what it is made of comes when that is chosen
#   scripts/prerequisites.sh tests               and Prometheus with its operator and the Gateway API's kinds, and goes on where no cluster can be made
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/missing.sh
command -v cargo >/dev/null || missing "cargo" "install Rust from https://rustup.rs, open a new shell, and run this again"

# SQLite and parts of the compression libraries are C; without headers a compiler alone is of no use.
compiler=${CC:-cc}
[[ -n $(command -v "${compiler%% *}") ]] || missing "a C compiler ($compiler)" "on Debian or Ubuntu: apt-get install build-essential; elsewhere install gcc or clang"
program='#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }'
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
$compiler -x c - -o "$scratch/program" <<<"$program" 2>"$scratch/errors" || {
    cat "$scratch/errors" >&2
    missing "the C library's headers or the linker ($compiler cannot build a program)" "on Debian or Ubuntu: apt-get install build-essential"
}

# OpenSSL, which is compiled from source, configures itself with it. Debian's perl-base lacks some of these.
perl -MFindBin -MIPC::Cmd -MFile::Compare -e 1 2>/dev/null || missing "perl with its core modules, for building OpenSSL" "on Debian or Ubuntu: apt-get install perl; on Fedora: dnf install perl; elsewhere install perl"

case ${1:-} in
    servers)
        shift
        scripts/servers.sh kafka postgres
        ;;
    cluster)
        shift
        scripts/servers.sh kafka postgres kubernetes
        ;;
    some_cluster)
        shift
        scripts/servers.sh some_cluster kafka postgres
        ;;
    tests)
        shift
        scripts/servers.sh kafka postgres prometheus
        code=0
        scripts/servers.sh kubernetes prometheus_operator gateway_api || code=$?
        ((code == 0 || code == 3)) || exit "$code"
        ((code == 0)) || printf '  So the tests of the cluster will fail, and say this again. To run all others: make test TEST="--exclude tidewheel-e2e"\n\n' >&2
        ;;
esac

channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

if ! command -v rustup >/dev/null; then
    version=$(cd / && rustc --version | cut -d' ' -f2)
    oldest=$(printf '%s\n' "$channel" "$version" | sort -V | head -n1)
    [[ $oldest == "$channel" ]] || missing "Rust $channel or newer (this is $version, and there is no rustup to install another)" "install Rust from https://rustup.rs"
    for component in "$@"; do
        tool=${component/clippy/clippy-driver}
        command -v "$tool" >/dev/null || missing "$component" "install it with the package manager that Rust came from, or Rust from https://rustup.rs"
    done
    exit 0
fi

installed() {
    rustup run "$channel" rustc --version >/dev/null 2>&1 || return 1
    local components component
    components=$(rustup component list --toolchain "$channel" --installed 2>/dev/null) || return 1
    for component in "$@"; do
        grep -q "^$component" <<<"$components" || return 1
    done
}

installed "$@" && exit 0
echo "installing Rust $channel with ${*:-no components}" >&2
components=()
for component in "$@"; do components+=(--component "$component"); done
rustup toolchain install "$channel" --profile minimal "${components[@]}" >&2 ||
    missing "Rust $channel ($*), which rustup could not download" "check the network, then: rustup toolchain install $channel --profile minimal ${components[*]}"
