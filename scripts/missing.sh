# What both prerequisites.sh and servers.sh need: they read this file.

# Says what is missing and what to do about it, and ends.
missing() {
    printf '\n  missing: %s\n  do this: %s\n\n' "$1" "$2" >&2
    exit 1
}

[[ -n ${HOME:-} ]] || missing "the variable HOME, for caches" "export HOME=/path/to/a/folder/that/can/be/written"
