#!/usr/bin/env bash
# Everything that is judged without running the program: format, lints, documentation, dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${TIDEWHEEL_CACHE:?run this as: make check}/tools
deny_version=0.20.2

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --release --workspace --all-targets --locked -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked

step "dependencies: licences, bans, sources"
if [[ $("$tools/bin/cargo-deny" --version 2>/dev/null) != "cargo-deny $deny_version" ]]; then
    echo "building cargo-deny $deny_version once, into $tools"
    cargo install --locked --root "$tools" --target-dir "$tools/target" "cargo-deny@$deny_version"
    rm -rf "$tools/target"
fi
export PATH="$tools/bin:$PATH"
cargo deny --locked check licenses bans sources

step "dependencies: advisories"
if timeout 120 cargo deny --locked fetch db; then
    cargo deny --locked check --disable-fetch advisories
    advisories=checked
else
    advisories="SKIPPED: the advisory database could not be fetched"
fi

printf '\nformat, lints, documentation, licences, bans and sources: good\nadvisories: %s\n' "$advisories"
