#!/usr/bin/env bash
# Redis, one worker and one broker on this machine until Ctrl-C: tools/demo.sh [--port N] [-- WORKER OPTIONS].
# Everything lives in a temporary directory and is ended by pid. TC_BUILD=DIR uses programs that are built already.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
    printf './dev demo: %s\n' "$*" >&2
    exit 1
}

first_port=8080
while [ $# -gt 0 ]; do
    case $1 in
    --port)
        [ $# -ge 2 ] || die "--port wants a number"
        first_port=$2
        shift 2
        ;;
    --)
        shift
        break
        ;;
    *) die "what is '$1'? Options of the worker come after --" ;;
    esac
done
if ! [[ $first_port =~ ^[1-9][0-9]{0,4}$ && $first_port -le 65515 ]]; then
    die "--port wants a number from 1 to 65515"
fi

worker_options=("$@")
[[ " $* " == *" --provider"[\ =]* ]] || worker_options+=(--provider replay)

if [ -z "${TC_BUILD:-}" ]; then
    TC_BUILD=$PWD/build
    ./dev deps
    ./dev build dev tokencast-broker tokencast-worker
fi
for program in tokencast-broker tokencast-worker; do
    [ -x "$TC_BUILD/bin/$program" ] || die "$TC_BUILD/bin/$program is missing"
done
command -v redis-server >/dev/null || die "redis-server is missing: ./dev deps"

dir=$(mktemp -d /tmp/tokencast-demo.XXXXXX)
socket=$dir/redis.sock
declare -A pids=()

# Brokers first, so that they can tell their readers; Redis last. No one gets more than two seconds.
stop_all() {
    local name pid tries
    trap '' INT TERM
    for name in broker worker redis; do
        pid=${pids[$name]:-}
        [ -n "$pid" ] || continue
        kill -TERM "$pid" 2>/dev/null || true
        for ((tries = 0; tries < 40; tries++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$dir"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

start() {
    local name=$1
    shift
    "$@" >"$dir/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}

# Says who died and ends the script if one did.
check_alive() {
    local name status
    for name in "${!pids[@]}"; do
        kill -0 "${pids[$name]}" 2>/dev/null && continue
        status=0
        wait "${pids[$name]}" || status=$?
        unset "pids[$name]"
        printf 'The end of its log:\n' >&2
        tail -n 20 "$dir/$name.log" >&2
        die "the $name has ended (status $status)"
    done
}

# wait_for NAME COMMAND...: until the command succeeds, for at most 15 seconds.
wait_for() {
    local name=$1 tries
    shift
    for ((tries = 0; tries < 150; tries++)); do
        "$@" && return 0
        check_alive
        sleep 0.1
    done
    tail -n 20 "$dir/$name.log" >&2
    die "the $name was not ready within 15 seconds"
}

is_ready() {
    grep -q '"msg": *"ready"' "$dir/$1.log"
}

ready_field() {
    sed -n '/"msg": *"ready"/s/.*"'"$2"'": *"\([^"]*\)".*/\1/p' "$dir/$1.log" | tail -n 1
}

port_is_taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

port=$first_port
while port_is_taken "$port"; do
    port=$((port + 1))
    [ "$port" -le $((first_port + 20)) ] || die "ports $first_port to $((port - 1)) are all taken: --port N"
done

start redis redis-server --port 0 --unixsocket "$socket" --save "" --appendonly no --dir "$dir" --daemonize no
wait_for redis test -S "$socket"
start worker "$TC_BUILD/bin/tokencast-worker" --redis "unix://$socket" --ops-listen 127.0.0.1:0 --log-format json \
    "${worker_options[@]}"
start broker "$TC_BUILD/bin/tokencast-broker" --listen "127.0.0.1:$port" --ops-listen 127.0.0.1:0 \
    --redis "unix://$socket" --allow-anonymous --log-format json
wait_for worker is_ready worker
wait_for broker is_ready broker

url=http://$(ready_field broker listen)
cat <<TXT

tokencast is running: $url

Open it in a browser, or start a generation and watch its events:

  curl -N -H 'Accept: text/event-stream' -d '{"prompt":"hello"}' $url/v1/generations

Metrics: http://$(ready_field broker ops)/metrics (broker)  http://$(ready_field worker ops)/metrics (worker)
Logs:    $dir
Ctrl-C ends all of it.
TXT

wait -n || true
check_alive
