# shellcheck shell=bash
# 31 daemons in a tree of arity 2: a request to the root and back for each level, and data to all, against plain TCP

NODES=31
PORT=9900
DATA_MB=$((BENCH_QUICK ? 64 : 128))

# start_relay NODE ARGS...: a listening relay on a node.
start_relay() {
    local i=$1
    shift
    : >"$BENCH_TEMP/relay-$i"
    (lab_enter "$i" timeout 120 "$(tool relay)" "$@") >"$BENCH_TEMP/relay-$i" 2>"$BENCH_TEMP/relay-$i.err" </dev/null &
    lab_until 50 test -s "$BENCH_TEMP/relay-$i" || { say "relay on node $i: $(<"$BENCH_TEMP/relay-$i.err")"; return 1; }
}

plain_rtt() {
    start_relay 0 answer $PORT || return 1
    lab_exec 30 "$(tool relay)" ask 10.77.0.1 $PORT 200 | jq 'sort | .[length / 2 | floor]'
}

# plain_relay pass|pass-new BYTES: the tree of the daemons: children of i are 2i+1 and 2i+2. Leaves first, so that everybody finds
# its children.
plain_relay() {
    local how=$1 bytes=$2 i c children
    for ((i = NODES - 1; i > 0; i--)); do
        children=()
        for ((c = 2 * i + 1; c <= 2 * i + 2 && c < NODES; c++)); do children+=("10.77.0.$((c + 1)):$PORT"); done
        start_relay "$i" "$how" $PORT "$bytes" "${children[@]}" || return 1
    done
    lab_exec 0 "$(tool relay)" send "$bytes" 10.77.0.2:$PORT 10.77.0.3:$PORT
}

# Nodes at depth d of the tree: 2^d - 1 is the first.
round_trips() {
    local rounds=$((BENCH_QUICK ? 3 : 7)) k d file=0 rtt per_level='[]' first=() times
    local count=20
    for ((k = 0; k < rounds; k++)); do
        rtt=$(plain_rtt) || return 1
        for d in 1 4; do
            # The root holds these files, nobody else does; names and attributes are known.
            lab_exec 0 "$(tool fsbench)" first "$BENCH_MOUNT" $file $count >/dev/null || return 1
            lab_exec $(((1 << d) - 1)) bash -c 'stat "$1"/f-* >/dev/null' bash "$BENCH_MOUNT"
            times=$(lab_exec $(((1 << d) - 1)) "$(tool fsbench)" first "$BENCH_MOUNT" $file $count) || return 1
            first[d]=$(median <<<"$times")
            file=$((file + count))
        done
        push per_level "$(jq -n "(${first[4]} - ${first[1]}) / 3 / $rtt")"
        say "round trip of plain TCP $rtt us; through 1 level ${first[1]} us, 4 levels ${first[4]} us"
    done
    row round-trip-4k-per-level-vs-tcp ratio lower 1.5 'plain TCP round trip' "$per_level" \
        'each further level of depth, by a program that reads 4 KiB through the mount'
}

# to_all HOW FILE: seconds until programs on all nodes have touched or streamed FILE.
to_all() {
    local start=${EPOCHREALTIME/./}
    lab_each timeout 120 "$(tool fsbench)" "$1" "$BENCH_MOUNT/$2" || return 1
    echo "$((${EPOCHREALTIME/./} - start))e-6"
}

data_to_all() {
    local bytes=$((DATA_MB << 20)) k plain='[]' new='[]' tier='[]' mount='[]'
    for ((k = 0; k < SAMPLES; k++)); do
        push plain "$(plain_relay pass $bytes)" || return 1
        push new "$(plain_relay pass-new $bytes)" || return 1
        # The root holds the data, as the plain one does; names and attributes are known everywhere.
        lab_exec 0 "$(tool fsbench)" stream "$BENCH_MOUNT/data-$k" >/dev/null || return 1
        push tier "$(to_all touch "data-$k")" || return 1
        push mount "$(to_all stream "data-$k")" || return 1
        say "$DATA_MB MiB to $NODES nodes, s: plain $(jq '.[-1]' <<<"$plain"), into new memory $(jq '.[-1]' <<<"$new"), tier $(jq '.[-1]' <<<"$tier"); then through the mounts $(jq '.[-1]' <<<"$mount")"
    done
    row data-to-all-vs-plain-relay ratio higher 0.7 'plain TCP relay' "$(pairs "$plain" "$tier")" \
        "$DATA_MB MiB into the memory of $NODES daemons; programs read a page of each chunk. The relay's memory is there before"
    row data-to-all-vs-plain-relay-into-new-memory ratio higher 0.7 'plain TCP relay whose memory comes as it is filled' \
        "$(pairs "$new" "$tier")"
    row data-read-by-all-after-that s lower null - "$mount" "all of it, by a program on each node, through its mount"
}

bench_main() {
    local tree=$BENCH_TEMP/tree i
    mkdir "$tree"
    for ((i = 0; i < 300; i++)); do head -c 4096 /dev/urandom >"$tree/f-$i"; done
    for ((i = 0; i < SAMPLES; i++)); do head -c $((DATA_MB << 20)) /dev/urandom >"$tree/data-$i"; done
    tier_up $NODES --source "$tree" --busy '--service-us 0 --bandwidth 0' --daemon '--arity 2 --cache-size 2G --readahead always' || return 1
    lab_each bash -c 'stat "$1"/* >/dev/null' bash "$BENCH_MOUNT" || return 1
    say 'round trips' && round_trips && say 'data to all' && data_to_all && lab_down
}
