#!/usr/bin/env bash
# Gives what root has made in somebody's caches to that user, after `sudo -E make`: otherwise the user's own builds could not write there.
set -euo pipefail
[[ $(id -u) == 0 && ${SUDO_UID:-0} != 0 && $(stat --format=%u "$HOME") == "$SUDO_UID" ]] || exit 0

caches=${XDG_CACHE_HOME:-$HOME/.cache}
if [[ -d $caches ]]; then
    find "$caches" -maxdepth 0 -user root -exec chown "$SUDO_UID:$SUDO_GID" {} +
fi
for folder in "${TIDEWHEEL_CACHE:-$caches/tidewheel}" "${CARGO_TARGET_DIR:-target}" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}"; do
    [[ -d $folder ]] || continue
    find "$folder" -user root -exec chown --no-dereference "$SUDO_UID:$SUDO_GID" {} +
done
