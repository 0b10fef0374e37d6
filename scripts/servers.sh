#!/usr/bin/env bash
# Fetches the real servers that tests run against, once, into the user's cache. A function for each server.
#
#   scripts/servers.sh               all of them
#   scripts/servers.sh kafka         this one
#   scripts/servers.sh postgres
#   scripts/servers.sh prometheus
#   scripts/servers.sh kubernetes             ends with code 3 on a machine that cannot run a cluster
#   scripts/servers.sh some_cluster           ends with code 3 where not even another one can be used
#   scripts/servers.sh prometheus_operator
#   scripts/servers.sh gateway_api
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/missing.sh
cache=${TIDEWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidewheel}
# The exit code that says: nothing is missing that could be installed, but this machine cannot run it.
CANNOT=3

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
    local fresh=$cache/kafka-fetching
    rm -rf "$fresh"
    mkdir -p "$fresh"
    # Several at a time, in one process that keeps its connections.
    awk -v central="$central" -v fresh="$fresh" '{ n = split($2, path, "/"); printf "url = \"%s/%s\"\noutput = \"%s/%s\"\n", central, $2, fresh, path[n] }' "$list" |
        curl --fail --silent --show-error --location --retry 5 --retry-connrefused --parallel --parallel-max 8 --config - ||
        missing "Kafka's jars, which could not be fetched from $central" "check the network, or set MAVEN_CENTRAL to a mirror of Maven Central"
    awk '{ n = split($2, path, "/"); print $1 "  " path[n] }' "$list" | (cd "$fresh" && sha256sum --check --quiet --strict -) >&2 ||
        missing "Kafka's jars as they are pinned: a checksum differs (above)" "remove $fresh and run this again; if it persists, what $central serves is not what was pinned"
    cp "$list" "$fresh/complete"
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

# Prometheus and promtool: those in PATH, or those of Debian's package, which is unpacked and not installed: it would start a server.
prometheus() {
    local folder=$cache/prometheus fresh=$cache/prometheus-fetching program
    [[ -e $folder/complete && -x $folder/prometheus && -x $folder/promtool ]] && return
    rm -rf "$fresh"
    mkdir -p "$fresh"
    if ! { command -v prometheus && command -v promtool; } >/dev/null; then
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
            missing "Prometheus 2.42 or newer, with promtool" "install it from https://prometheus.io/download and put prometheus and promtool into PATH"
        echo "fetching Prometheus into $folder (20 MB, once)" >&2
        # As root, apt would rather be another user, who cannot write here.
        local options=(--option=APT::Sandbox::User=root)
        (cd "$fresh" && { apt-get "${options[@]}" download prometheus || { [[ $(id -u) == 0 ]] && apt-get update && apt-get "${options[@]}" download prometheus; }; }) >/dev/null ||
            missing "Debian's package prometheus, which could not be fetched" "check the network, then as root: apt-get update"
        dpkg-deb --extract "$fresh"/prometheus_*.deb "$fresh/package"
    fi
    for program in prometheus promtool; do
        if [[ -x $fresh/package/usr/bin/$program ]]; then
            mv "$fresh/package/usr/bin/$program" "$fresh/$program"
        else
            ln -s "$(command -v "$program")" "$fresh/$program"
        fi
    done
    rm -rf "$fresh/package" "$fresh"/prometheus_*.deb
    touch "$fresh/complete"
    rm -rf "$folder"
    mv "$fresh" "$folder"
}

# Says why no cluster can be made on this machine; nothing where one can.
no_cluster_because() {
    [[ $(uname -s) == Linux ]] || { echo "it needs Linux, whose kernel runs containers" && return; }
    [[ $(id -u) == 0 ]] || { echo "it needs root, for namespaces, mounts and cgroups: sudo -E make ..." && return; }
    local said group
    said=$(unshare --net --mount --pid --ipc --fork --mount-proc true 2>&1) ||
        { echo "it needs namespaces of its own, and the system says: $said (in a container: run it with --privileged)" && return; }
    grep -q $'\toverlay$' /proc/filesystems || modprobe overlay 2>/dev/null ||
        { echo "it needs overlayfs in the kernel: modprobe overlay" && return; }
    for group in /sys/fs/cgroup /sys/fs/cgroup/*; do
        if [[ -e $group/cgroup.procs && ! -L $group ]]; then
            said=$(mkdir "$group/tidewheel.$$" 2>&1 && rmdir "$group/tidewheel.$$" 2>&1) ||
                echo "it needs cgroups of its own, and the system says: $said (in a container: run it with --privileged)"
            return
        fi
    done
    echo "it needs cgroups, and there are none in /sys/fs/cgroup"
}

# Ends where no cluster can be had on this machine, before anybody waits for a build. `tidewheel-cluster up` chooses where more than one can.
some_cluster() {
    local because
    because=$(no_cluster_because)
    if [[ -n $because && -z ${TIDEWHEEL_KUBECONFIG:-} ]] && ! { command -v docker && command -v kind; } >/dev/null; then
        printf '\n  No cluster can be made here: %s\n  Docker with kind would do instead, or a cluster that is there: docs/cluster.md\n\n' "$because" >&2
        exit "$CANNOT"
    fi
}

# Fetches a Go module and unpacks it into a folder, whole, without a Go; its archive has this checksum.
fetch_module() {
    local folder=$1 module=$2 digest=$3 proxy=${GOPROXY:-https://proxy.golang.org}
    rm -rf "$folder"
    mkdir -p "$folder"
    curl --fail --silent --show-error --location --retry 5 --retry-connrefused --output "$folder/module.zip" "${proxy%%[,|]*}/${module/@//@v/}.zip" || {
        echo "  $module could not be fetched from ${proxy%%[,|]*}: check the network (GOPROXY names a mirror of Go modules)" >&2
        return 1
    }
    echo "$digest  $folder/module.zip" | sha256sum --check --quiet --strict - >&2 || {
        echo "  $module is not what was pinned: its checksum differs" >&2
        return 1
    }
    busybox unzip -q -d "$folder" "$folder/module.zip"
}

# Puts a Go into PATH that is new enough, where there is none: one that is needed for this alone, and fetched like any other Go module.
go_toolchain() {
    local folder=$1 what=$2 needed found version=1.26.8 machine digest
    needed=$(sed -n 's/^go //p' e2e/kubernetes/go.mod)
    found=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || true
    found=${found#go}
    [[ -n $found && $(printf '%s\n' "$needed" "$found" | sort -V | head -n1) == "$needed" ]] && return
    case $(uname -m) in
        x86_64) machine=amd64 digest=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7 ;;
        aarch64) machine=arm64 digest=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99 ;;
        *) missing "Go $needed or newer, to build $what (found: ${found:-none})" "install it from https://go.dev/dl and put the folder of go into PATH" ;;
    esac
    export PATH=$folder/go/bin:$PATH
    [[ -x $folder/go/bin/go ]] && return
    local module=golang.org/toolchain@v0.0.1-go$version.linux-$machine
    echo "fetching Go $version for the build (70 MB)" >&2
    fetch_module "$folder/fetched" "$module" "$digest" || missing "Go $needed or newer, to build $what (above)" "install Go from https://go.dev/dl and put the folder of go into PATH"
    # A module's files are not executable.
    chmod -R +x "$folder/fetched/$module/bin" "$folder/fetched/$module/pkg/tool"
    mv "$folder/fetched/$module" "$folder/go"
    rm -rf "$folder/fetched"
}

# Builds a Go program and says every 15 seconds how far it is: go names each package when it begins with it.
go_build() {
    local flags=$1 program=$2 package=$3 all begun=0 said=$SECONDS line
    all=$(go list -deps "$package" | wc -l) || return 1
    nice -n 10 go build -v -ldflags "$flags" -o "$program" "$package" 2>&1 | while true; do
        if read -r -t 15 line; then
            # Only the name of a package has no space and no colon.
            case $line in *[\ :]*) echo "    $line" >&2 ;; *) ((begun += 1)) ;; esac
        elif (($? <= 128)); then
            break
        fi
        ((SECONDS - said < 15)) || { echo "    $begun of at most $all packages" >&2 && said=$SECONDS; }
    done
}

# Builds the three programs into the folder `programs` of a folder that has room for all that is fetched and compiled.
# Then what Kubernetes, and what Helm is told of its version.
build_kubernetes() (
    programs=$1/programs
    export CGO_ENABLED=0 GOTOOLCHAIN=local GOTMPDIR=$1/tmp GOFLAGS="-trimpath -buildvcs=false -mod=readonly -modcacherw"
    export GOCACHE=${GOCACHE:-$1/compiled} GOMODCACHE=${GOMODCACHE:-$1/modules}
    # Not by `set -e`, which does nothing where somebody asks whether this fails.
    cd e2e/kubernetes &&
        echo "  1 of 3: fetching the sources" >&2 &&
        go list -deps . ./pause helm.sh/helm/v3/cmd/helm >/dev/null 2>"$1/fetched.log" || { grep -v '^go: downloading ' "$1/fetched.log" >&2; return 1; }
    echo "  2 of 3: building Kubernetes, etcd and CoreDNS" >&2
    go_build "-s -w $2" "$programs/kubernetes" . && go_build "-s -w" "$programs/pause" ./pause || return 1
    echo "  3 of 3: building Helm" >&2
    go_build "-s -w $3" "$programs/helm" helm.sh/helm/v3/cmd/helm
)

# Kubernetes with etcd, CoreDNS and Helm, built from their Go modules, each pinned by its checksum; and what runs containers.
kubernetes() {
    local sources=(e2e/kubernetes/{go.mod,go.sum,main.go,pause/main.go}) version=1.34.4
    local folder=$cache/kubernetes-$version building=$cache/kubernetes-building program
    if [[ -n ${TIDEWHEEL_KUBECONFIG:-} ]] && command -v kubectl >/dev/null && command -v helm >/dev/null; then
        return
    fi
    local because
    because=$(no_cluster_because)
    if [[ -n $because ]]; then
        printf '\n  No cluster can be made here: %s\n\n' "$because" >&2
        exit "$CANNOT"
    fi
    local packages=()
    for program in containerd:containerd runc:runc nft:nftables ip:iproute2 buildah:buildah busybox:busybox-static strip:binutils curl:curl; do
        [[ -n $(PATH=$PATH:/usr/sbin:/sbin command -v "${program%:*}") ]] || packages+=("${program#*:}")
    done
    [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge || -x /usr/libexec/cni/bridge ]] || packages+=(containernetworking-plugins)
    [[ -r /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
    [[ ${#packages[@]} == 0 ]] || install_packages "what runs containers: ${packages[*]}" "${packages[@]}"

    # Programs learn their versions when they are linked; Helm also that of the Kubernetes which it takes for granted without a cluster.
    local version_of=k8s.io/component-base/version helm=helm.sh/helm/v3
    local stamps="-X $version_of.gitVersion=v$version -X $version_of.gitMajor=1 -X $version_of.gitMinor=34"
    local helm_stamps="-X $helm/internal/version.version=v3.19.0 -X $helm/pkg/chartutil.k8sVersionMajor=1 -X $helm/pkg/chartutil.k8sVersionMinor=34"
    helm_stamps+=" -X $helm/pkg/lint/rules.k8sVersionMajor=1 -X $helm/pkg/lint/rules.k8sVersionMinor=34"
    local pinned
    pinned=$(sha256sum "${sources[@]}" && echo "$stamps $helm_stamps")
    [[ -e $folder/complete && $(<"$folder/complete") == "$pinned" ]] && return
    # What is fetched and compiled for it stays here until all is built, so that a build that was interrupted goes on where it was.
    mkdir -p "$building"/{programs,tmp}
    go_toolchain "$building" Kubernetes
    echo "building Kubernetes $version, etcd, CoreDNS and Helm into $folder (once; 5 to 15 minutes on 2 cores)" >&2
    local fresh=$building/programs
    build_kubernetes "$building" "$stamps" "$helm_stamps" ||
        missing "Kubernetes, which could not be built (above)" "check the network (GOPROXY names a mirror of Go modules), and run this again"
    for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl coredns; do
        ln -sf kubernetes "$fresh/$program"
    done
    echo "$pinned" >"$fresh/complete"
    rm -rf "$folder"
    mv "$fresh" "$folder"
    rm -rf "$building"
}

# The Prometheus Operator, built from its Go module, which is pinned by its checksum, and the kinds of resources that it brings along.
prometheus_operator() {
    local sources=(e2e/prometheus/{go.mod,go.sum}) module=github.com/prometheus-operator/prometheus-operator
    local folder=$cache/prometheus-operator-0.85.0 building=$cache/prometheus-operator-building pinned
    pinned=$(sha256sum "${sources[@]}")
    [[ -e $folder/complete && $(<"$folder/complete") == "$pinned" ]] && return
    command -v busybox >/dev/null && command -v curl >/dev/null || install_packages "curl and busybox, to fetch Go" curl busybox-static
    local fresh=$building/programs
    mkdir -p "$fresh/kinds" "$building/tmp"
    go_toolchain "$building" "the Prometheus Operator"
    echo "building the Prometheus Operator into $folder (once; 2 to 5 minutes on 2 cores)" >&2
    (
        export CGO_ENABLED=0 GOTOOLCHAIN=local GOTMPDIR=$building/tmp GOFLAGS="-trimpath -buildvcs=false -mod=readonly -modcacherw"
        export GOCACHE=${GOCACHE:-$building/compiled} GOMODCACHE=${GOMODCACHE:-$building/modules}
        cd e2e/prometheus &&
            go list -deps "$module/cmd/operator" >/dev/null 2>"$building/fetched.log" || { grep -v '^go: downloading ' "$building/fetched.log" >&2; exit 1; }
        go_build "-s -w" "$fresh/prometheus-operator" "$module/cmd/operator" &&
            cp "$(go list -m -f '{{.Dir}}' "$module")"/example/prometheus-operator-crd/*.yaml "$fresh/kinds"
    ) || missing "the Prometheus Operator, which could not be built (above)" "check the network (GOPROXY names a mirror of Go modules), and run this again"
    echo "$pinned" >"$fresh/complete"
    rm -rf "$folder"
    mv "$fresh" "$folder"
    rm -rf "$building"
}

# The kinds of the Gateway API, for which this operator has a route in its documentation.
gateway_api() {
    local version=v1.7.0 digest=f9041f93ad3b2572089afa858ceac74e0545e7769490ae774039ed0f841f3d6d
    local module=sigs.k8s.io/gateway-api@$version folder=$cache/gateway-api-$version fetched=$cache/gateway-api-fetching
    [[ -e $folder/complete ]] && return
    command -v busybox >/dev/null && command -v curl >/dev/null || install_packages "curl and busybox, to fetch the Gateway API" curl busybox-static
    echo "fetching the kinds of the Gateway API into $folder (3 MB, once)" >&2
    fetch_module "$fetched" "$module" "$digest" || missing "the kinds of the Gateway API (above)" "check the network, and run this again"
    mkdir -p "$fetched/wanted/kinds"
    cp "$fetched/$module"/config/crd/standard/gateway.networking.k8s.io_{gatewayclasses,gateways,httproutes}.yaml "$fetched/wanted/kinds"
    touch "$fetched/wanted/complete"
    rm -rf "$folder"
    mv "$fetched/wanted" "$folder"
    rm -rf "$fetched"
}

servers=("$@")
[[ ${#servers[@]} -gt 0 ]] || servers=(kafka postgres prometheus kubernetes prometheus_operator gateway_api)
# One at a time: whoever comes second finds it done. The lock goes with this process.
mkdir -p "$cache"
if command -v flock >/dev/null; then
    exec 9>"$cache/servers.lock"
    flock --nonblock 9 || { echo "waiting for another run of this script" >&2 && flock 9; }
fi
for server in "${servers[@]}"; do
    declare -F "$server" >/dev/null || missing "a server named $server" "use one of: kafka, postgres, prometheus, kubernetes, some_cluster, prometheus_operator, gateway_api"
    "$server"
done
