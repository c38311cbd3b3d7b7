# shellcheck shell=bash
# how long programs wait when daemons die: taken over by the next one, and by a parent's child

HEARTBEAT_MS=2000

# Three readers of files that the kernel does not have, while the node's daemon is killed and taken over.
taken_over() {
    local kills=100 restarts=10 result keeper k='[]' r='[]' p memory
    ((BENCH_QUICK)) && kills=20 restarts=3
    mkdir "$BENCH_TEMP/tree" && chmod 755 "$BENCH_TEMP/tree"
    for ((i = 0; i < 200; i++)); do head -c $((1000 + i * 3000)) /dev/urandom >"$BENCH_TEMP/tree/$i"; done
    tier_up 1 --source "$BENCH_TEMP/tree" --daemon '--keeper --cache-size 64M' || return 1
    keeper=$(<"$LAB_DIR/daemon-0.pid")
    result=$(lab_exec 0 python3 "$BENCH_HERE/waits.py" kills "$BENCH_MOUNT" "$LAB_PFS" "$keeper" $kills) || return 1
    k=$(jq .waits_ms <<<"$result")
    row takeover-reader-gap-p50 ms lower 1000 'no kill: a read takes '"$(jq '.usual_ms * 10 | round / 10' <<<"$result")"' ms' "$k" \
        "kill -9 $kills times; the longest wait of 3 readers each time"
    row takeover-reader-gap-max ms lower 1000 - "[$(jq max <<<"$k")]"
    row takeover-errors-in-$kills-kills errors lower 0 - "[$(jq .errors <<<"$result")]" \
        "$(jq -r '"\(.reads) files read and compared \(.first_error)"' <<<"$result")"
    result=$(lab_exec 0 python3 "$BENCH_HERE/waits.py" restarts "$BENCH_MOUNT" "$LAB_PFS" "$keeper" $restarts \
        "$(lab_find src/cli/tiercel)" call restart) || return 1
    r=$(jq .waits_ms <<<"$result")
    row restart-reader-gap-p50 ms lower 1000 - "$r" "restarted $restarts times on request, as for an upgrade"
    row restart-errors errors lower 0 - "[$(jq .errors <<<"$result")]"
    memory=0
    for p in "$keeper" $(pgrep -P "$keeper" -x tierceld-mender); do
        memory=$((memory + $(awk '/^Pss_Anon:/ { print $2 }' "/proc/$p/smaps_rollup")))
    done
    row keeper-memory kB lower 1024 - "[$memory]" 'keeper and mender: anonymous memory; the rest is the program itself'
    lab_down
}

# An inner node's daemon gets a signal while the node below it reads what nobody has: when does that get its next answer?
parent_lost() {
    local signal=$1 target=$2 metric=$3 why=$4 waits='[]' errors=0 result i seconds=$5
    for ((i = 0; i < SAMPLES; i++)); do
        tier_up 3 --busy '--service-us 300' --daemon '--arity 1' || return 1
        result=$(lab_exec 2 python3 "$BENCH_HERE/waits.py" walk "$BENCH_MOUNT/share" "$seconds" "$(<"$LAB_DIR/daemon-1.pid")" "$signal") || return 1
        waits=$(jq -c --argjson w "$waits" '$w + .waits_ms' <<<"$result")
        errors=$((errors + $(jq .errors <<<"$result")))
        kill -s KILL "$(<"$LAB_DIR/daemon-1.pid")" 2>/dev/null # a stopped one cannot be asked to end
        lab_down
    done
    row "$metric" ms lower "$target" - "$waits" "$why; the longest wait of a reader on the child"
    row "$metric-errors" errors lower 0 - "[$errors]"
}

bench_main() {
    say 'daemons killed and taken over' && taken_over || return 1
    say 'a parent killed' && parent_lost KILL 1000 parent-killed-next-answer 'connection reset' 6 || return 1
    say 'a parent stopped' && parent_lost STOP $((3 * HEARTBEAT_MS)) parent-silent-next-answer 'SIGSTOP; heartbeat 2 s' 14
}
