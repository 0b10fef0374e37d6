#!/usr/bin/env bash
# Runs every test and ends with one line that counts them. The exit code is cargo's.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --release --workspace --locked --no-fail-fast "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}

# Colours, where somebody forces them, stand between the words.
sed -i 's/\x1b\[[0-9;]*m//g' "$log"

# What tests have measured, with the lines of one test together: tests run side by side. A test's name may stand before it on its line.
sed -n 's/.*MEASURED: /  /p' "$log" | sort --stable --field-separator=: --key=1,1 | awk 'NR == 1 { print "\nmeasured:" } { print }'

# What tests did not find on this machine, each once: it may stand far above.
awk '/^(  )?missing: |^  do this: |NOT TRIED: / { sub(/^ +|.*NOT TRIED: /, /NOT TRIED: / ? "NOT TRIED: " : ""); if (!told[$0]++) print (n++ ? "" : "\n") "  " $0 }' "$log"

awk -v code="$code" '
    /^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i - 1)
            if ($i ~ /^failed/) failed += $(i - 1)
            if ($i ~ /^ignored/) ignored += $(i - 1)
        }
    }
    END {
        printf "\ntests: %d passed, %d failed, %d ignored", passed, failed, ignored
        if (code != 0) printf " (cargo ended with code %d)", code
        print ""
    }' "$log"
exit "$code"
