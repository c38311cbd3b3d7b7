# shellcheck shell=bash
# a data set ten times the cache's limit streams through a chain of three daemons, against the same chain without that limit

LIMIT_MB=64
FILES=5
FILE_MB=$((LIMIT_MB * 10 / FILES))

# stream_all LIMIT: seconds to read all files once on the last node, through daemons that hold no more than LIMIT.
stream_all() {
    local seconds held i files=()
    for ((i = 0; i < FILES; i++)); do files+=("$BENCH_MOUNT/data-$i"); done
    tier_up 3 --source "$BENCH_TEMP/tree" --busy '--service-us 0 --bandwidth 0' --daemon "--roots 1 --arity 1 --cache-size $1" || return 1
    seconds=$(lab_exec 2 timeout 300 "$(tool fsbench)" stream "${files[@]}" | jq add) || return 1
    held=$(counter 1 .memory.cached_bytes)
    lab_down
    say "limit $1: $seconds s, $((held >> 20)) MiB held in the middle at the end"
    echo "$seconds"
}

bench_main() {
    local i k with without limited='[]' free='[]' samples=$((BENCH_QUICK ? 3 : 5))
    mkdir "$BENCH_TEMP/tree"
    for ((i = 0; i < FILES; i++)); do head -c $((FILE_MB << 20)) /dev/urandom >"$BENCH_TEMP/tree/data-$i"; done
    for ((k = 0; k < samples; k++)); do
        with=$(stream_all ${LIMIT_MB}M) && without=$(stream_all 2G) || return 1
        push limited "$with"
        push free "$without"
    done
    row stream-10-times-the-limit-vs-no-limit ratio higher 0.8 'the same chain with a limit that is never reached' \
        "$(pairs "$free" "$limited")" "$((FILES * FILE_MB)) MiB through $LIMIT_MB MiB a node; time without the limit, over time with it"
    row stream-mb-per-s-with-the-limit 'MB/s' higher null - "$(jq -cn --argjson t "$limited" "[\$t[] | $((FILES * FILE_MB)) * 1.048576 / .]")"
}
