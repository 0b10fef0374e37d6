#!/usr/bin/env bash
# Fetches the real servers that tests run against, once, into the user's cache. A function for each server.
#
#   scripts/servers.sh               all of them
#   scripts/servers.sh kafka         this one
#   scripts/servers.sh postgres
#   scripts/servers.sh kubernetes
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/missing.sh
cache=${TIDEWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidewheel}

# Installs Debian packages where that can be done without asking; says what is missing anywhere else.
install_packages() {
    local what=$1
    shift
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        echo "installing $*" >&2
        { apt-get install -y --no-install-recommends "$@" || { apt-get update && apt-get install -y --no-install-recommends "$@"; }; } >/dev/null && return
    fi
    missing "$what" "on Debian or Ubuntu, as root: apt-get install $*; elsewhere install it with the package manager"
}

# The major version of the Java that would be run; 0 where there is none.
java_version() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n1) || true
    echo "${version:-0}"
}

# A Kafka broker: its jars from Maven Central, each with a pinned checksum.
kafka() {
    (($(java_version) >= 17)) || install_packages "Java 17 or newer, for the Kafka broker that tests start" openjdk-17-jre-headless
    (($(java_version) >= 17)) || missing "Java 17 or newer (java -version says $(java_version))" "put a newer java first in PATH"
    command -v curl >/dev/null || install_packages "curl, to fetch Kafka" curl ca-certificates

    local list=$PWD/e2e/kafka-4.3.1.sha256 folder=$cache/kafka-4.3.1
    local central=${MAVEN_CENTRAL:-https://repo1.maven.org/maven2}
    [[ -e $folder/complete ]] && cmp -s "$list" "$folder/complete" && return
    echo "fetching Kafka 4.3.1 into $folder (45 MB, once)" >&2
    mkdir -p "$cache"
    local fresh
    fresh=$(mktemp -d "$cache/kafka.XXXXXX")
    # Several at a time, in one process that keeps its connections.
    awk -v central="$central" -v fresh="$fresh" '{ n = split($2, path, "/"); printf "url = \"%s/%s\"\noutput = \"%s/%s\"\n", central, $2, fresh, path[n] }' "$list" |
        curl --fail --silent --show-error --location --retry 5 --retry-connrefused --parallel --parallel-max 8 --config - ||
        missing "Kafka's jars, which could not be fetched from $central" "check the network, or set MAVEN_CENTRAL to a mirror of Maven Central"
    awk '{ n = split($2, path, "/"); print $1 "  " path[n] }' "$list" | (cd "$fresh" && sha256sum --check --quiet --strict -) >&2 ||
        missing "Kafka's jars as they are pinned: a checksum differs (above)" "remove $fresh and run this again; if it persists, what $central serves is not what was pinned"
    cp "$list" "$fresh/complete"
    chmod 755 "$fresh"
    rm -rf "$folder"
    mv "$fresh" "$folder"
}

# Whether there is a PostgreSQL that is new enough: where Debian puts it, or in PATH.
has_postgres() {
    local folder version
    for folder in /usr/lib/postgresql/*/bin /usr/local/lib/postgresql/*/bin ${PATH//:/ }; do
        [[ -x $folder/initdb && -x $folder/postgres ]] || continue
        version=$("$folder/postgres" --version | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
        ((${version:-0} >= 15)) && return
    done
    return 1
}

# A PostgreSQL server. Debian's package would also make a database of its own and keep it running; tests start theirs themselves.
postgres() {
    has_postgres && return
    local what="PostgreSQL 15 or newer, for the server that tests start" settings=/etc/postgresql-common/createcluster.conf
    install_packages "$what" postgresql-common
    if grep -q '^#create_main_cluster' "$settings" 2>/dev/null; then
        sed -i 's/^#create_main_cluster.*/create_main_cluster = false/' "$settings"
        install_packages "$what" postgresql
        sed -i 's/^create_main_cluster = false$/#create_main_cluster = true/' "$settings"
    else
        install_packages "$what" postgresql
    fi
    has_postgres || missing "$what" "install it from https://www.postgresql.org/download and put the folder of initdb into PATH"
}

# Kubernetes with etcd, CoreDNS and Helm, built from their Go modules, each pinned by its checksum; and what runs containers.
kubernetes() {
    local sources=(e2e/kubernetes/{go.mod,go.sum,main.go,pause/main.go}) version=1.34.4
    local folder=$cache/kubernetes-$version program
    if [[ $(uname -s) != Linux || $(id -u) != 0 ]]; then
        printf '\n  The tests of the cluster cannot run here, and fail saying so: it needs Linux, and root for namespaces, mounts and cgroups.\n\n' >&2
        return
    fi
    local packages=()
    for program in containerd:containerd runc:runc nft:nftables ip:iproute2 buildah:buildah busybox:busybox-static strip:binutils unshare:util-linux; do
        [[ -n $(PATH=$PATH:/usr/sbin:/sbin command -v "${program%:*}") ]] || packages+=("${program#*:}")
    done
    [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge || -x /usr/libexec/cni/bridge ]] || packages+=(containernetworking-plugins)
    [[ -r /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
    [[ ${#packages[@]} == 0 ]] || install_packages "what runs containers: ${packages[*]}" "${packages[@]}"

    local pinned
    pinned=$(sha256sum "${sources[@]}")
    [[ -e $folder/complete && $(<"$folder/complete") == "$pinned" ]] && return
    local needed found
    needed=$(sed -n 's/^go //p' e2e/kubernetes/go.mod)
    found=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || true
    found=${found#go}
    [[ -n $found && $(printf '%s\n' "$needed" "$found" | sort -V | head -n1) == "$needed" ]] ||
        missing "Go $needed or newer, to build Kubernetes (found: ${found:-none})" "install it from https://go.dev/dl and put the folder of go into PATH"
    echo "building Kubernetes $version, etcd, CoreDNS and Helm into $folder (once; 5 minutes on 2 cores)" >&2
    mkdir -p "$cache"
    local fresh
    fresh=$(mktemp -d "$cache/kubernetes.XXXXXX")
    local version_package=k8s.io/component-base/version
    (
        cd e2e/kubernetes
        export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=false -mod=readonly"
        echo "  1 of 2: Kubernetes, etcd and CoreDNS" >&2
        nice -n 10 go build -ldflags "-s -w -X $version_package.gitVersion=v$version -X $version_package.gitMajor=1 -X $version_package.gitMinor=34" -o "$fresh/kubernetes" .
        nice -n 10 go build -ldflags "-s -w" -o "$fresh/pause" ./pause
        echo "  2 of 2: Helm" >&2
        nice -n 10 go build -ldflags "-s -w" -o "$fresh/helm" helm.sh/helm/v3/cmd/helm
    ) || missing "Kubernetes, which could not be built (above)" "check the network (GOPROXY names a mirror of Go modules), and run this again"
    for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl coredns; do
        ln -s kubernetes "$fresh/$program"
    done
    echo "$pinned" >"$fresh/complete"
    chmod 755 "$fresh"
    rm -rf "$folder"
    mv "$fresh" "$folder"
}

servers=("$@")
[[ ${#servers[@]} -gt 0 ]] || servers=(kafka postgres kubernetes)
for server in "${servers[@]}"; do
    declare -F "$server" >/dev/null || missing "a server named $server" "use one of: kafka, postgres, kubernetes"
    "$server"
done
