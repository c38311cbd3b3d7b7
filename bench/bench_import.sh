# shellcheck shell=bash
# a cold and a warm start: storage operations, growth with the nodes, times against tmpfs and local disk

# Storage operations over distinct things, and cold times, for each number of nodes.
storage_and_growth() {
    # The demo's file system: 1,000 metadata operations a second.
    local n sizes=(1 2 4 8) module=pandas busy='--service-us 4000' k times straight first_cold last_cold opens='[]' reads='[]' meta='[]' bytes='[]'
    ((BENCH_QUICK)) && sizes=(1 8) module=numpy
    for n in "${sizes[@]}"; do
        times='[]'
        tier_up "$n" --busy "$busy" || return 1
        for ((k = 0; k < SAMPLES; k++)); do
            ((k == 0)) || tier_again || return 1
            push times "$(replay_all $module "$BENCH_MOUNT")"
            lab_ctl stat >"$BENCH_TEMP/stat"
            push opens "$(jq '.opens / .distinct.files_opened' "$BENCH_TEMP/stat")"
            push reads "$(jq '.reads / .distinct.chunks' "$BENCH_TEMP/stat")"
            push bytes "$(jq '.bytes / .distinct.bytes' "$BENCH_TEMP/stat")"
            push meta "$(jq '.metadata / (.distinct.directories + .distinct.links)' "$BENCH_TEMP/stat")"
        done
        lab_down
        lab_up "$n" --no-daemons --busy "$busy --readahead-kb 128" || return 1
        straight='[]'
        push straight "$(replay_all $module "$LAB_PFS")"
        lab_down
        say "$module x 12 on $n nodes: cold $(median <<<"$times") s, straight $(median <<<"$straight") s"
        row "cold-replay-$n-nodes" s lower null 'straight access' "$times" "$module; straight: $(median <<<"$straight") s"
        row "straight-replay-$n-nodes" s lower null - "$straight" "$module"
        [[ -n ${first_cold:-} ]] || { first_cold=$(median <<<"$times"); first_straight=$(median <<<"$straight"); }
        last_cold=$times
    done
    row storage-opens-per-distinct-file ratio lower 1.0 'distinct files' "$opens"
    row storage-reads-per-distinct-chunk ratio lower 1.0 'distinct chunks' "$reads"
    row storage-metadata-per-directory-and-link ratio lower 1.0 'distinct directories and links' "$meta"
    row storage-bytes-per-distinct-byte ratio lower 1.01 'distinct bytes' "$bytes"
    row cold-growth-1-to-8-nodes ratio lower 1.3 '1 node' "$(jq -c --argjson one "$first_cold" 'map(. / $one)' <<<"$last_cold")"
    row straight-growth-1-to-8-nodes ratio lower null '1 node' "$(jq -c --argjson one "$first_straight" 'map(. / $one)' <<<"$straight")"
}

# Everything that the kernel asked a daemon, but the terminal ioctl that Python makes on each file.
MESSAGES='.fuse | .lookups + .getattrs + .readdirs + .reads + .xattrs + .others'

# What one node's cold start asks its parent, what a warm one sends the daemon; torch's opens on four nodes.
requests_up() {
    local module target k
    for module in torch pandas; do
        target=$([[ $module == torch ]] && echo 300 || echo 160)
        if ! has "$module"; then
            row_null "parent-metadata-requests-$module" count lower "$target" - "python3-$module is not installed"
            continue
        fi
        tier_up 2 --busy '--service-us 0' || return 1
        local before after up='[]' warm='[]'
        before=$(counter 1 .counters.meta_requests_up)
        python_import 1 "$BENCH_MOUNT" "$module" >/dev/null || return 1
        push up $(($(counter 1 .counters.meta_requests_up) - before))
        row "parent-metadata-requests-$module" count lower "$target" - "$up"
        # The second import still touches pages that the first did not: one more before it is warm.
        python_import 1 "$BENCH_MOUNT" "$module" >/dev/null || return 1
        for ((k = 0; k < SAMPLES; k++)); do
            before=$(counter 1 "$MESSAGES")
            python_import 1 "$BENCH_MOUNT" "$module" >/dev/null || return 1
            after=$(counter 1 "$MESSAGES")
            push warm $((after - before))
        done
        row "warm-messages-$module" count lower 0 - "$warm" "terminal ioctls apart"
        lab_down
    done
    if has torch; then
        tier_up 4 --busy '--service-us 100' || return 1
        replay_all torch "$BENCH_MOUNT" 1 >/dev/null
        lab_ctl stat >"$BENCH_TEMP/stat"
        lab_down
        row storage-opens-torch-4-nodes count lower "$(jq .distinct.files_opened "$BENCH_TEMP/stat")" 'files that one import opens' \
            "$(jq -c '[.opens]' "$BENCH_TEMP/stat")"
        row storage-missing-lookups-torch-4-nodes ratio lower 1.0 'distinct missing names' \
            "$(jq -c '[if .distinct.missing == 0 then 0 else .missing / .distinct.missing end]' "$BENCH_TEMP/stat")"
    fi
}

# Warm: one real import against tmpfs; twelve replays' processor time against tmpfs.
warm_against_tmpfs() {
    local module k tier tmpfs cpu_tier cpu_tmpfs before
    for module in pandas torch; do
        has "$module" || continue
        tier_up 2 --busy '--service-us 0' || return 1
        tmpfs_copy 1 "$module"
        tier='[]' tmpfs='[]' cpu_tier='[]' cpu_tmpfs='[]'
        python_import 1 "$BENCH_MOUNT" "$module" >/dev/null || return 1
        python_import 1 /dev/shm/usr "$module" >/dev/null || return 1
        for ((k = 0; k < SAMPLES + 4; k++)); do
            push tier "$(python_import 1 "$BENCH_MOUNT" "$module")"
            push tmpfs "$(python_import 1 /dev/shm/usr "$module")"
        done
        # Neighbours in time are compared, so that what else the machine does hits both.
        row "warm-import-$module-vs-tmpfs" ratio lower 1.05 tmpfs "$(pairs "$tier" "$tmpfs")"
        lab_exec 1 "$(tool replay)" --prefix "$BENCH_MOUNT" --procs 12 "$BENCH_TEMP/$module.trace" >/dev/null || return 1
        lab_exec 1 "$(tool replay)" --prefix /dev/shm/usr --procs 12 "$BENCH_TEMP/$module.trace" >/dev/null || return 1
        for ((k = 0; k < SAMPLES; k++)); do
            before=$(daemon_cpu)
            lab_exec 1 "$(tool replay)" --prefix "$BENCH_MOUNT" --procs 12 "$BENCH_TEMP/$module.trace" >"$BENCH_TEMP/out" || return 1
            push cpu_tier "$(jq --argjson a "$before" --argjson b "$(daemon_cpu)" '.cpu_s + $b - $a' "$BENCH_TEMP/out")"
            lab_exec 1 "$(tool replay)" --prefix /dev/shm/usr --procs 12 "$BENCH_TEMP/$module.trace" >"$BENCH_TEMP/out" || return 1
            push cpu_tmpfs "$(jq .cpu_s "$BENCH_TEMP/out")"
        done
        row "warm-replay-$module-12-cpu-vs-tmpfs" ratio lower 1.5 tmpfs "$(pairs "$cpu_tier" "$cpu_tmpfs")"
        lab_down
    done
}

# A client one hop from the root against local disk; the storage behind the tier is the same disk.
one_hop_away() {
    local module k cold disk warm warm_disk
    for module in torch pandas; do
        if ! has "$module"; then
            row_null "one-hop-cold-$module-vs-disk" ratio lower 1.5 'local disk' "python3-$module is not installed"
            continue
        fi
        cold='[]' disk='[]' warm='[]' warm_disk='[]'
        tier_up 2 --busy '--service-us 0 --bandwidth 0' || return 1
        lab_exec 1 mount --bind /usr /srv/local
        for ((k = 0; k < SAMPLES; k++)); do
            ((k == 0)) || tier_again || return 1
            lab_ctl drop >/dev/null
            sync && echo 3 >/proc/sys/vm/drop_caches
            push cold "$(python_import 1 "$BENCH_MOUNT" "$module")"
            push warm "$(python_import 1 "$BENCH_MOUNT" "$module")"
            sync && echo 3 >/proc/sys/vm/drop_caches
            push disk "$(python_import 1 /srv/local "$module")"
            push warm_disk "$(python_import 1 /srv/local "$module")"
        done
        lab_down
        say "$module one hop away: cold $(median <<<"$cold") s, disk $(median <<<"$disk") s"
        row "one-hop-cold-$module-vs-disk" ratio lower 1.5 'local disk' "$(pairs "$cold" "$disk")" "all caches of the machine dropped before each"
        row "one-hop-warm-$module-vs-disk" ratio lower "$([[ $module == torch ]] && echo 1.05 || echo null)" 'local disk' "$(pairs "$warm" "$warm_disk")"
    done
}

bench_main() {
    say 'recording the imports'
    traces numpy pandas torch
    has pandas || { cat "$BENCH_TEMP/record.err" >&2; return 1; }
    storage_and_growth && say 'requests of one node' && requests_up && say 'warm, against tmpfs' && warm_against_tmpfs &&
        say 'one hop away' && one_hop_away
}
