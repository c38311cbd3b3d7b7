# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# 10,000 values of 4 KiB: put in one epoch until they are final, and got back, against raw LMDB
KV_COUNT=10000
KV_DIR=${TIERCEL_BENCH_DIR:-/var/tmp} # on the disk that is measured

bench_main() {
    local dir i way out put_t='[]' put_l='[]' get_t='[]' get_l='[]' rss_t='[]' rss_l='[]' commit_t='[]' large='[]' anon_t='[]'
    dir=$(mktemp -d "$KV_DIR/tiercel-kv.XXXXXX") || return 1
    for ((i = 0; i < 2 * SAMPLES + 1; i++)); do
        for way in tiercel lmdb; do
            mkdir "$dir/$way"
            if ! out=$("$(tool kv)" $way "$dir/$way" $KV_COUNT 4096); then
                rm -rf "$dir"
                return 1
            fi
            rm -rf "${dir:?}/$way"
            if [[ $way == tiercel ]]; then
                push put_t "$(jq "$KV_COUNT / .puts" <<<"$out")"
                push get_t "$(jq "$KV_COUNT / .gets" <<<"$out")"
                push commit_t "$(jq '.commit * 1e3' <<<"$out")"
                push rss_t "$(jq '.rss_kb / 1024' <<<"$out")"
                push anon_t "$(jq '.anon_kb / 1024' <<<"$out")"
            else
                push put_l "$(jq "$KV_COUNT / .puts" <<<"$out")"
                push get_l "$(jq "$KV_COUNT / .gets" <<<"$out")"
                push rss_l "$(jq '.rss_kb / 1024' <<<"$out")"
            fi
        done
    done
    mkdir "$dir/large" && out=$("$(tool kv)" tiercel "$dir/large" $((10 * KV_COUNT)) 4096) && push large "$(jq '.anon_kb / 1024' <<<"$out")"
    rm -rf "$dir"
    row puts-4k-in-one-epoch-vs-lmdb ratio higher 0.5 'raw LMDB, one transaction' "$(pairs "$put_t" "$put_l")" "$KV_COUNT values, flushed and committed"
    row gets-4k-warm-vs-lmdb ratio higher 0.5 'raw LMDB, one transaction' "$(pairs "$get_t" "$get_l")" 'random keys, each copied to the caller'
    row puts-4k 1/s higher null - "$put_t"
    row puts-4k-lmdb 1/s higher null - "$put_l"
    row gets-4k 1/s higher null - "$get_t"
    row gets-4k-lmdb 1/s higher null - "$get_l"
    row commit-of-10000-puts ms lower null - "$commit_t" 'behind their flush'
    row memory MiB lower null - "$anon_t" 'of the process; 8 MiB of it are the buffers for what is written'
    row memory-10-times-the-values MiB lower null - "$large" 'the keys of what is not committed yet included'
    row memory-with-mapped-files MiB lower null - "$rss_t" 'largest resident set: pages that the kernel takes back when it needs them'
    row memory-with-mapped-files-lmdb MiB lower null - "$rss_l"
}
