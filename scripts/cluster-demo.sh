#!/usr/bin/env bash
# Applies the example to the cluster (`local`, or the one that is named) that `make cluster` has made, or to that of TIDEWHEEL_KUBECONFIG, sends
# its events over HTTP, and shows what has become of them.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/missing.sh
clusters=${TIDEWHEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidewheel}/clusters
[[ $(id -u) != 0 ]] || clusters=/var/cache/tidewheel/clusters
environment=$clusters/${1:-local}/environment
if [[ -n ${TIDEWHEEL_KUBECONFIG:-} ]]; then
    export KUBECONFIG=$TIDEWHEEL_KUBECONFIG
else
    [[ -r $environment ]] || missing "the cluster" "make cluster"
    source "$environment"
fi
command -v curl >/dev/null || missing "curl, to send events" "on Debian or Ubuntu: apt-get install curl"
psql=$(command -v psql || ls /usr/lib/postgresql/*/bin/psql 2>/dev/null | tail -n 1) || true
[[ -n $psql ]] || missing "psql, to show the tables" "on Debian or Ubuntu: apt-get install postgresql-client"

namespace=web
step() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
shown() { step "$@" && "$@"; }
rows() { "$psql" "$TIDEWHEEL_POSTGRES" --no-psqlrc "$@"; }

kubectl get namespace "$namespace" >/dev/null 2>&1 || shown kubectl create namespace "$namespace"
if ! kubectl --namespace "$namespace" get secret warehouse >/dev/null 2>&1; then
    step "kubectl --namespace $namespace create secret generic warehouse --from-literal=url=postgres://..."
    kubectl --namespace "$namespace" create secret generic warehouse --from-literal=url="$TIDEWHEEL_POSTGRES_IN_PODS"
fi
shown kubectl apply --filename examples/web-analytics
shown kubectl --namespace "$namespace" wait --for=condition=Ready eventsource/clicks sink/warehouse pipeline/web-analytics --timeout=5m
shown kubectl --namespace "$namespace" get eventsources,sinks,pipelines,deployments

# A port of this machine that leads to the Service, for as long as this runs. kubectl says which: Forwarding from 127.0.0.1:PORT -> 8080
exec 3< <(exec kubectl --namespace "$namespace" port-forward service/clicks-ingest :8080)
forwarding=$!
trap 'kill "$forwarding"' EXIT
read -r -u 3 line
port=${line#*127.0.0.1:}
send() { curl --fail --silent --show-error --output /dev/null --write-out '%{http_code}\n' --header 'Content-Type: application/x-ndjson' "$@" "http://127.0.0.1:${port%% *}/v1/events"; }

step "curl --data-binary @examples/web-analytics/clicks.ndjson.gz http://clicks-ingest.$namespace.svc:8080/v1/events"
send --header 'Content-Encoding: gzip' --data-binary @examples/web-analytics/clicks.ndjson.gz
# A window ends when every partition has seen an event that is later: these are, by months.
for ((event = 0; event < 60; event++)); do
    printf '{"timestamp": "2016-01-01T00:00:00Z", "source": "closing-%d", "attributes": {"method": "GET"}}\n' "$event"
done | send --data-binary @-

expected=$(($(wc -l <examples/web-analytics/clicks_hourly_expected.csv) - 1))
counted() { rows --tuples-only --no-align --command 'SELECT count(*) FROM clicks_hourly'; }
for ((look = 0; look < 240; look++)); do
    count=$(counted 2>/dev/null) && ((count >= expected)) && break
    sleep 0.5
done
if ((look == 240)); then
    printf '\n  %s of %s windows came within two minutes. What keeps them: kubectl --namespace %s describe pipeline web-analytics\n\n' "$(counted)" "$expected" "$namespace" >&2
    exit 1
fi
query='SELECT window_start, method, count, sum_bytes, errors FROM clicks_hourly ORDER BY window_start, method LIMIT 12'
step "psql -c '$query'"
rows --command "$query"
rows --tuples-only --no-align --command "SELECT count(*) || ' windows; ' || (SELECT count(*) FROM clicks_unique) || ' events, each once' FROM clicks_hourly"
