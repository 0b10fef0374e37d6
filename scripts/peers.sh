#!/usr/bin/env bash
# Fetches the programs that `make bench` compares with, once, into the user's cache. Nothing else needs them. A function for each kind.
#
#   scripts/peers.sh               all of them
#   scripts/peers.sh python        FastAPI with uvicorn, and what Python consumers are made of
#   scripts/peers.sh flink         Flink, with the program of bench/peers/flink
#   scripts/peers.sh streams       Kafka Streams, with the program of bench/peers/streams
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/missing.sh
cache=${TIDEWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidewheel}/peers

# A Python of its own with the packages that bench/peers/python pins, each by its checksum.
python() {
    local list=$PWD/bench/peers/python/requirements.txt folder=$cache/python interpreter=${PYTHON:-python3}
    local what="Python 3.11 or newer with venv, for the peers of make bench" found
    found=$("$interpreter" -c 'import sys, venv, ensurepip; print(sys.version_info >= (3, 11))' 2>/dev/null) || true
    [[ $found == True ]] || missing "$what" "on Debian 12 or Ubuntu 24.04 and newer: apt-get install python3-venv; or set PYTHON to another python3"
    [[ -x $folder/bin/python ]] && cmp -s "$list" "$folder/complete" && return
    echo "fetching the Python packages of bench/peers/python into $folder (40 MB, once)" >&2
    # Where it will stay: its programs name their interpreter by its whole path.
    rm -rf "$folder"
    "$interpreter" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement "$list" >&2 ||
        missing "the Python packages of bench/peers/python (above)" "check the network, and run this again; PYTHON names another python3, for which there may be more of them"
    cp "$list" "$folder/complete"
}

# A program in Java with all that it needs, from Maven Central in the versions that its pom.xml pins.
java_program() {
    local name=$1 sources=$PWD/bench/peers/$1 folder=$cache/$1 pinned
    pinned=$(cd "$sources" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    [[ -e $folder/complete && $(<"$folder/complete") == "$pinned" ]] && return
    command -v javac >/dev/null && command -v mvn >/dev/null ||
        missing "a JDK of Java 17 or newer with Maven, for the peers of make bench" "on Debian or Ubuntu: apt-get install openjdk-17-jdk-headless maven"
    echo "building $name into $folder (once)" >&2
    local fresh=$cache/$name-building
    rm -rf "$fresh"
    mkdir -p "$fresh/jars"
    mvn --batch-mode --quiet --file "$sources/pom.xml" -Dbuild.folder="$fresh/target" \
        package dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$fresh/jars" >&2 ||
        missing "$name, which could not be built (above)" "check the network (a mirror of Maven Central stands in ~/.m2/settings.xml), and run this again"
    cp "$fresh/target/"*.jar "$fresh/jars"
    echo "$pinned" >"$fresh/jars/complete"
    rm -rf "$folder"
    mv "$fresh/jars" "$folder"
    rm -rf "$fresh"
}

flink() {
    java_program flink
}

streams() {
    java_program streams
}

peers=("$@")
[[ ${#peers[@]} -gt 0 ]] || peers=(python streams flink)
mkdir -p "$cache"
for peer in "${peers[@]}"; do
    declare -F "$peer" >/dev/null || missing "a peer named $peer" "use one of: python, streams, flink"
    "$peer"
done
