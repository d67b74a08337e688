#!/usr/bin/env bash
# Brings Apache Kafka into target/kafka, runs its classes, and starts and stops a broker of one node on loopback.
#
#   kafka.sh fetch [VERSION...]                 the jars of 4, 3 and 2 of pom.xml and this folder's Java classes, or those of
#                                               other versions in it
#   kafka.sh run VERSION CLASS [ARG...]         a main class of that version (4, 3, 2, or another that was fetched)
#   kafka.sh start VERSION DIR PORT PORT [PROPERTY...]
#                                               a broker on DIR/log, reachable at the first port; waits until it serves
#   kafka.sh join VERSION DIR PORT PORT [PROPERTY...]
#                                               a second one, of the cluster that was started with that other port
#   kafka.sh stop DIR                           stops it as an operator would, and waits
#   kafka.sh kill DIR                           ends it without a chance to tidy up
#
# `start` and `join` write DIR/server.properties unless it is there, with those properties at its end, and what the broker
# says goes to DIR/broker.log. 4 and 3 run in KRaft mode, 2 beside a ZooKeeper. Whatever does not work ends with an error:
# nothing is skipped.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
kafka="$(cd "$here/../.." && pwd)/target/kafka"
versions=(4 3 2)

fail() {
    echo "kafka.sh: $*" >&2
    exit 1
}

class_path() {
    [[ -d $kafka/$1 ]] || fail "Kafka $1 is not here: run tests/kafka/kafka.sh fetch"
    echo "$kafka/classes:$kafka/$1/*"
}

bring() {
    # Whatever it says comes with resets of colours that nobody set.
    mvn --batch-mode --quiet --file "$here/pom.xml" --activate-profiles "$1" \
        dependency:copy-dependencies "-DoutputDirectory=$kafka/$1" 2>&1 | sed 's/\x1b\[[0-9;]*m//g' >&2
}

fetch() {
    local stamp version
    if [[ $# -gt 0 ]]; then
        for version in "$@"; do
            [[ -d $kafka/$version ]] || bring "$version"
        done
        return 0
    fi
    stamp="$(cat "$here/pom.xml" "$here"/java/*.java "$here"/java/4/*.java | sha256sum)"
    [[ $stamp != "$(cat "$kafka/stamp" 2>/dev/null)" ]] || return 0
    rm -rf "$kafka"
    for version in "${versions[@]}"; do
        bring "$version"
    done
    # The client API is the same in all of them; the record classes that write old formats end with 3.
    javac -proc:none -Xlint:-options -cp "$kafka/3/*" -d "$kafka/classes" "$here"/java/*.java
    # Share groups are only in 4.
    javac -proc:none -Xlint:-options -cp "$kafka/classes:$kafka/4/*" -d "$kafka/classes" "$here"/java/4/*.java
    echo "$stamp" >"$kafka/stamp"
}

# Tools say only what is wrong. One compiler tier and no parallel collector, unless KAFKA_TOOL_FLAGS says otherwise: most of
# them live for a second.
run() {
    local flags
    read -ra flags <<<"${KAFKA_TOOL_FLAGS:--XX:TieredStopAtLevel=1 -XX:+UseSerialGC}"
    exec java "${flags[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
        -cp "$(class_path "$1")" "${@:2}"
}

write_properties() {
    local command=$1 version=$2 dir=$3 port=$4 other_port=$5 id=1 roles='broker,controller'
    local listeners="PLAINTEXT://127.0.0.1:$port"
    if [[ $command == join ]]; then
        id=2 roles='broker'
    elif [[ $version != 2 ]]; then
        listeners+=",CONTROLLER://127.0.0.1:$other_port"
    fi
    if [[ $version == 2 ]]; then
        printf '%s\n' "broker.id=$id" "zookeeper.connect=127.0.0.1:$other_port"
    else
        printf '%s\n' "process.roles=$roles" "node.id=$id" 'controller.listener.names=CONTROLLER' \
            "controller.quorum.voters=1@127.0.0.1:$other_port"
    fi
    # One or two nodes, little memory, and a cleaner and a checkpoint that do not wait. All else is stock.
    printf '%s\n' "listeners=$listeners" "log.dirs=$dir/log" \
        'offsets.topic.replication.factor=1' 'offsets.topic.num.partitions=3' 'group.initial.rebalance.delay.ms=0' \
        'transaction.state.log.replication.factor=1' 'transaction.state.log.min.isr=1' \
        'transaction.state.log.num.partitions=3' 'log.cleaner.dedupe.buffer.size=8388608' 'log.cleaner.backoff.ms=500' \
        'log.flush.start.offset.checkpoint.interval.ms=500' "${@:6}"
}

# Waits until the log has a line that says so, and as long as the process lives.
await() {
    local pid=$1 log=$2 pattern=$3
    for _ in {1..600}; do
        grep -qE "$pattern" "$log" 2>/dev/null && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 30 "$log" >&2
    fail "no line with '$pattern' in $log"
}

server() {
    local version=$1 log=$2 flags
    read -ra flags <<<"${KAFKA_SERVER_FLAGS:--Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}"
    setsid java "${flags[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=info \
        -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$(class_path "$version")" "${@:3}" >>"$log" 2>&1 </dev/null &
}

# What is the same of `start` and `join`, which is the first argument.
start() {
    local command=$1 version=$2 dir=$3 other_port=$5
    mkdir -p "$dir"
    if [[ ! -f $dir/server.properties ]]; then
        write_properties "$@" >"$dir/server.properties"
        [[ $version == 2 ]] || (run "$version" kafka.tools.StorageTool format --ignore-formatted \
            --config "$dir/server.properties" --cluster-id 'S2RpciBhbmQgS2Fma2EhIQ' >/dev/null)
    fi
    if [[ $version == 2 && $command == start ]]; then
        : >"$dir/zookeeper.log"
        server "$version" "$dir/zookeeper.log" -Dzookeeper.admin.enableServer=false \
            org.apache.zookeeper.server.ZooKeeperServerMain "$other_port" "$dir/zookeeper"
        echo $! >"$dir/zookeeper.pid"
        await $! "$dir/zookeeper.log" 'binding to port'
    fi
    : >"$dir/broker.log"
    server "$version" "$dir/broker.log" kafka.Kafka "$dir/server.properties"
    echo $! >"$dir/broker.pid"
    await $! "$dir/broker.log" 'Kafka Server started|\[KafkaServer id=[12]\] started'
}

# Sends a signal to a process of `start` and waits until it is gone.
end() {
    local signal=$1 file=$2 pid
    [[ -f $file ]] || return 0
    pid="$(cat "$file")"
    kill "-$signal" "$pid" 2>/dev/null || true
    for _ in {1..600}; do
        kill -0 "$pid" 2>/dev/null || { rm "$file" && return 0; }
        sleep 0.05
    done
    kill -KILL "$pid"
    fail "process $pid of $file did not end within 30 s of signal $signal"
}

case "${1:-}" in
    fetch) fetch "${@:2}" ;;
    run) run "${@:2}" ;;
    start | join) start "$@" ;;
    stop) end TERM "$2/broker.pid" && end TERM "$2/zookeeper.pid" ;;
    kill) end KILL "$2/broker.pid" && end KILL "$2/zookeeper.pid" ;;
    *) fail 'say fetch, run, start, join, stop or kill' ;;
esac
