# shellcheck shell=bash
# unmodified programs served by each way of `tiercel run`, as an ordinary user, against native tmpfs

LAUNCH_UID=65534
LAUNCH_NATIVE=/dev/shm/tiercel-bench-launch
LAUNCH_TREES=/dev/shm/tiercel-bench-trees
read -ra LAUNCH_RUNGS <<<"${LAUNCH_RUNGS:-bind fuse inject fault preload}" # some of them: LAUNCH_RUNGS='fuse bind'
# What Parrot (cctools), which traps each call by ptrace, has published: a share of native.
declare -A LAUNCH_PARROT=([stat]=0.023 [open-close]=0.031 [read-4k]=0.041 [read-128k]=0.41)

# A mount namespace in which an ordinary user may open /dev/fuse, as on most machines, and a tier of that user.
launch_begin() {
    trap 'launch_end; lab_down; rm -rf "$BENCH_TEMP"' EXIT
    LAUNCH_HOLD=$(lab_hold unshare --mount --propagation private --)
    lab_until 50 launch_in_own_mounts || return 1
    # shellcheck disable=SC2016 # the inner shell expands
    nsenter -t "$LAUNCH_HOLD" -m bash -c '
        mount -t tmpfs none /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && umount -l /mnt' || return 1
    install -d -m 700 -o "$LAUNCH_UID" -g "$LAUNCH_UID" "$BENCH_TEMP/rt" "$BENCH_TEMP/home" "$LAUNCH_TREES"
    mkdir -m 755 "$LAUNCH_NATIVE" "$BENCH_TEMP/source"
    launch_as tiercel up >/dev/null
}
launch_in_own_mounts() { [[ $(readlink "/proc/$LAUNCH_HOLD/ns/mnt") != "$(readlink /proc/self/ns/mnt)" && $(<"/proc/$LAUNCH_HOLD/comm") == sleep ]]; }
launch_end() {
    [[ -z ${LAUNCH_HOLD:-} ]] && return
    launch_as tiercel down --timeout 5 >/dev/null 2>&1
    kill "$LAUNCH_HOLD" && LAUNCH_HOLD=
    rm -rf "$LAUNCH_NATIVE" "$LAUNCH_TREES"
}

# launch_as PROGRAM...: as the user; `tiercel` is the build's.
launch_as() {
    local program=$1
    shift
    [[ $program != tiercel ]] || program=$(lab_find src/cli/tiercel)
    nsenter -t "$LAUNCH_HOLD" -m --wd=/ setpriv --reuid "$LAUNCH_UID" --regid "$LAUNCH_UID" --clear-groups \
        env -i PATH="$PATH" BENCH_TURNS="${BENCH_TURNS:-}" HOME="$BENCH_TEMP/home" TIERCEL_RUNTIME_DIR="$BENCH_TEMP/rt" \
        TIERCEL_TREE_DIR="$LAUNCH_TREES" LC_ALL=C TZ=UTC \
        PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "$program" "$@"
}
# launch_in RUNG PROGRAM...: the same, under `run`; floor-fuse: on the least that a mount can be; native: as it is.
launch_in() {
    local rung=$1
    shift
    case $rung in
    native) launch_as "$@" ;;
    floor-fuse) launch_as "$(tool floor-fuse)" default_permissions "$BENCH_TEMP/source" "$@" ;;
    *) launch_as tiercel run --how "$rung" --strict --no-profile --cache "$BENCH_TEMP/source" -- "$@" ;;
    esac
}

# launch_turns A B PROGRAM... -- PROGRAM...: the first in place A and the second in B, which take turns in what they measure
# (test/lab/turns.h), on one processor. Their results: $BENCH_TEMP/a and $BENCH_TEMP/b.
launch_turns() {
    local a=$1 b=$2 first=() pid on=(timeout 300 taskset -c $(($(nproc) - 1))) ways=$BENCH_TEMP/turn-a:$BENCH_TEMP/turn-b
    shift 2
    while [[ $1 != -- ]]; do first+=("$1") && shift; done
    shift
    rm -f "$BENCH_TEMP"/turn-[ab] && mkfifo -m 666 "$BENCH_TEMP"/turn-{a,b} || return 1
    BENCH_TURNS=first:$ways launch_in "$a" "${on[@]}" "${first[@]}" >"$BENCH_TEMP/a" &
    pid=$!
    BENCH_TURNS=second:$ways launch_in "$b" "${on[@]}" "$@" >"$BENCH_TEMP/b" && wait "$pid" && return
    # The first shall not wait for one that has failed.
    while kill -0 "$pid" 2>/dev/null; do
        : <>"$BENCH_TEMP/turn-a" <>"$BENCH_TEMP/turn-b"
        sleep 0.1
    done
    return 1
}

# The middle of one process' samples of a call in a place: RATES-FILE CALL PLACE
launch_middle() { jq ".\"$2\".$3" "$1" | median; }

LAUNCH_CALLS=(stat missing open-close read-4k read-128k)

# Rates below the path and outside of it, against native ones.
launch_rates() {
    local rung=$1 k call target targets=$2
    local -A below=() outside=() rates=()
    for ((k = 0; k < SAMPLES + 2; k++)); do
        # Two places in both: the processor's caches shall hold as much in one as in the other.
        launch_turns native "$rung" "$(tool fsbench)" rates 3 "native=$LAUNCH_NATIVE/files" "other=$LAUNCH_NATIVE/again" -- \
            "$(tool fsbench)" rates 3 "tier=$BENCH_TEMP/source/files" "tmpfs=$LAUNCH_NATIVE/files" || return 1
        for call in "${LAUNCH_CALLS[@]}"; do
            local x=${below[$call]:-[]} y=${outside[$call]:-[]} z=${rates[$call]:-[]}
            x=$(launch_ratios "$x" "$call" tier native) y=$(launch_ratios "$y" "$call" tmpfs other)
            push z "$(launch_middle "$BENCH_TEMP/b" "$call" tier)"
            below[$call]=$x outside[$call]=$y rates[$call]=$z
        done
    done
    for call in "${LAUNCH_CALLS[@]}"; do
        target=$(jq -r --arg c "$call" '.[$c] // "null"' <<<"$targets")
        row "$rung-$call" ratio higher "$target" 'native tmpfs' "${below[$call]}" "$(launch_note "$call" "$(median <<<"${rates[$call]}")")"
    done
    [[ $rung == floor-* ]] && return
    for call in stat open-close; do
        row "$rung-outside-$call" ratio higher 0.9 'native tmpfs' "${outside[$call]}" 'paths that are not served'
    done
}
# launch_ratios SAMPLES CALL PLACE-OF-B PLACE-OF-A: the samples and one ratio a turn more.
launch_ratios() {
    jq -c --argjson more "$(pairs "$(jq -c ".\"$2\".$3" "$BENCH_TEMP/b")" "$(jq -c ".\"$2\".$4" "$BENCH_TEMP/a")")" '. + $more' <<<"$1"
}

# The same calls on the least that a mount can be, in turns.
launch_against_floor() {
    local rung=$1 k call
    local -A versus=()
    for ((k = 0; k < SAMPLES; k++)); do
        launch_turns "floor-$rung" "$rung" "$(tool fsbench)" rates 3 "least=$BENCH_TEMP/source/files" "other=$LAUNCH_NATIVE/again" -- \
            "$(tool fsbench)" rates 3 "tier=$BENCH_TEMP/source/files" "tmpfs=$LAUNCH_NATIVE/files" || return 1
        for call in "${LAUNCH_CALLS[@]}"; do
            local x=${versus[$call]:-[]}
            versus[$call]=$(launch_ratios "$x" "$call" tier least)
        done
    done
    for call in "${LAUNCH_CALLS[@]}"; do
        row "$rung-$call-vs-floor" ratio higher null 'a mount whose daemon is asked nothing twice, of the same libfuse and options' "${versus[$call]}"
    done
}
launch_note() {
    jq -rn --argjson rate "$2" --arg parrot "${LAUNCH_PARROT[$1]:-}" '
        (if $rate > 1e7 then "\($rate / 1e6 | round) MB/s" else "\($rate / 1e3 | round) k/s" end)
        + if $parrot == "" then "" else "; Parrot, published: \($parrot) of native" end'
}

# A program of the tree, started again and again; then `tiercel run` as a whole.
launch_starts() {
    local rung=$1 target=$2 k ratios='[]' cpu='[]' us='[]' native='[]' whole='[]' count=$((BENCH_QUICK ? 50 : 100)) spawn
    spawn=$(tool launch-spawn)
    for ((k = 0; k < SAMPLES; k++)); do
        launch_turns native "$rung" "$spawn" 3 $count "$LAUNCH_NATIVE/files/true" -- "$spawn" 3 $count "$BENCH_TEMP/source/files/true" || return 1
        launch_push
    done
    row "$rung-start-in-it" ratio lower "$target" 'native tmpfs' "$ratios" \
        "$(median <<<"$us" | jq -r '"\(round) us"'); processor time $(median <<<"$cpu" | jq '. * 100 | round / 100'); Parrot on such a machine: 15"
    for ((k = 0; k < SAMPLES; k++)); do
        push whole "$(launch_as "$spawn" 1 10 "$(lab_find src/cli/tiercel)" run --how "$rung" --strict --no-profile \
            --cache "$BENCH_TEMP/source" -- "$BENCH_TEMP/source/files/true" | jq '.wall[0] / 1000')"
    done
    row "$rung-start-of-run" ms lower null '-' "$whole" "tiercel run as a whole, after the first; native: $(median <<<"$native" | jq '. / 100 | round / 10') ms"
}
# Of a turn's two results: adds to the caller's ratios (wall time), cpu (ratios of processor time), us and native.
launch_push() {
    local both
    both=$(jq -c -s '{wall: [range(.[0].wall | length) as $i | .[1].wall[$i] / .[0].wall[$i]],
        cpu: [range(.[0].cpu | length) as $i | .[1].cpu[$i] / .[0].cpu[$i]], us: .[1].wall, native: .[0].wall}' "$BENCH_TEMP/a" "$BENCH_TEMP/b")
    ratios=$(jq -c --argjson x "$both" '. + $x.wall' <<<"$ratios") cpu=$(jq -c --argjson x "$both" '. + $x.cpu' <<<"$cpu")
    us=$(jq -c --argjson x "$both" '. + $x.us' <<<"$us") native=$(jq -c --argjson x "$both" '. + $x.native' <<<"$native")
}

# Imports of pandas, all of it below the path and warm, each beside a native one; and their processor time, which
# waiting for a time slice does not add to.
launch_import() {
    local rung=$1 k ratios='[]' cpu='[]' us='[]' native='[]' served=$BENCH_TEMP/source/app app=$LAUNCH_NATIVE/app
    has pandas || { row_null "$rung-import-pandas" ratio lower 1.03 'native tmpfs' 'python3-pandas is not installed'; return 0; }
    for ((k = 0; k < (BENCH_QUICK ? 2 : 3); k++)); do
        launch_turns native "$rung" env PYTHONHOME="$app" LD_LIBRARY_PATH="$app/lib/$(uname -m)-linux-gnu" \
            "$(tool launch-spawn)" 7 1 "$app/$LAUNCH_PYTHON" -c 'import pandas' -- \
            env PYTHONHOME="$served" LD_LIBRARY_PATH="$served/lib/$(uname -m)-linux-gnu" \
            "$(tool launch-spawn)" 7 1 "$served/$LAUNCH_PYTHON" -c 'import pandas' || return 1
        launch_push
    done
    row "$rung-import-pandas" ratio lower 1.03 'native tmpfs' "$ratios" "$(median <<<"$us" | jq -r '"\(. / 1000 | round) ms"')"
    row "$rung-import-pandas-cpu" ratio lower null 'native tmpfs' "$cpu" 'user and system time'
}

# What an import of pandas touches, and a tree of small files and a large one; the same on tmpfs.
launch_sources() {
    local app=$BENCH_TEMP/source/app place
    traces pandas
    mkdir "$BENCH_TEMP/source/files" "$app" && "$(tool fsbench)" make "$BENCH_TEMP/source/files" && cp /bin/true "$BENCH_TEMP/source/files" || return 1
    LAUNCH_PYTHON=$(readlink -f /usr/bin/python3)
    LAUNCH_PYTHON=${LAUNCH_PYTHON#/usr/}
    if has pandas; then
        awk '$1 !~ /^#/ && $5 == "0" && $6 != "-" { print $6 }' "$BENCH_TEMP/pandas.trace" | sort -u | (
            cd /usr && while read -r name; do
                echo "$name"
                [[ ! -d $name || $name == . ]] || find -L "$name" -maxdepth 1 -type f 2>/dev/null # bin/X11 leads to itself
            done | sort -u | tar -c -h --no-recursion -T - | tar -x -C "$app"
        ) || return 1
    fi
    cp -a "$app" "$LAUNCH_NATIVE" && mkdir "$LAUNCH_NATIVE"/{files,again} && cp /bin/true "$LAUNCH_NATIVE/files" || return 1
    # Not copied: how a file was written decides how its pages lie.
    for place in files again; do "$(tool fsbench)" make "$LAUNCH_NATIVE/$place" || return 1; done
    chmod -R a+rX "$BENCH_TEMP/source" "$LAUNCH_NATIVE"
}

# No figure of this rung: why.
launch_none() {
    local metric
    for metric in stat missing open-close read-4k read-128k outside-stat outside-open-close start-in-it import-pandas; do
        row_null "$1-$metric" ratio - null 'native tmpfs' "$2"
    done
}

# With everything on one core, a supervisor is called by its program as a function is. A static program's opens are all heard;
# the floor: a supervisor that does nothing.
launch_one_core() {
    local rung=$1 k fast='[]' heard='[]' floor='[]' versus on=(launch_as taskset -c 0)
    local run=("$(lab_find src/cli/tiercel)" run --how "$rung" --strict --no-profile --cache "$BENCH_TEMP/source" --)
    for ((k = 0; k < SAMPLES; k++)); do
        push fast "$("${on[@]}" "${run[@]}" "$(tool fsbench)" rates 3 "tier=$BENCH_TEMP/source/files" | jq '."open-close".tier' | median)"
        push heard "$("${on[@]}" "${run[@]}" "$(tool fsbench-static)" rates 3 "tier=$BENCH_TEMP/source/files" | jq '."open-close".tier' | median)"
        push floor "$("${on[@]}" "$(tool floor-calls)" "$(tool fsbench-static)" rates 3 "tier=$LAUNCH_NATIVE/files" | jq '."open-close".tier' | median)"
    done
    row "$rung-open-close-one-core" per-s higher 130000 - "$fast" 'supervisor and program share a core'
    versus=$(pairs "$heard" "$floor")
    row "$rung-open-close-one-core-static" per-s higher null - "$heard" \
        "a static program: each open is a message; $(median <<<"$versus" | jq '. * 100 | round / 100') of the floor"
    row floor-calls-open-close-one-core per-s higher null - "$floor" 'a supervisor that lets each open go on and does nothing else'
}

bench_main() {
    local rung why
    launch_begin && launch_sources || return 1
    for rung in "${LAUNCH_RUNGS[@]}"; do
        if ! why=$(launch_in "$rung" true 2>&1 >/dev/null); then
            why=$(sed -n 's/^tiercel[a-z-]*: //p' <<<"$why" | head -n 1)
            say "$rung: $why"
            launch_none "$rung" "$why"
            continue
        fi
        say "$rung"
        case $rung in
        bind) launch_rates bind '{"stat": 0.95, "missing": 0.95, "open-close": 0.95, "read-4k": 0.95, "read-128k": 0.95}' ;;
        fuse) launch_rates fuse '{"stat": 0.9, "missing": 1.0, "open-close": 0.8, "read-4k": 0.85, "read-128k": 0.85}' &&
            launch_rates floor-fuse '{}' && launch_against_floor fuse ;;
        fault) launch_rates fault '{"stat": 0.95}' && launch_one_core fault ;;
        *) launch_rates "$rung" '{}' ;;
        esac || return 1
        launch_starts "$rung" "$([[ $rung == fuse ]] && echo 1.3 || echo null)" && launch_import "$rung" || return 1
    done
    launch_end
}
