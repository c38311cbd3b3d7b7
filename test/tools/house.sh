#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that the house's own tools are right: tools/test counts what happened, tools/setup asks for what is missing.
# On little made-up projects and with stand-ins for apt, sudo and id; nothing is installed. Prints TAP.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tree=$(mktemp -d) && trap 'rm -rf "$tree"' EXIT
results=()
result() { # ok|"not ok" SENTENCE
    results+=("$1 $((${#results[@]} + 1)) - $2")
}
is() { # SENTENCE WANTED FOUND
    if [ "$2" = "$3" ]; then result ok "$1"; else result "not ok" "$1: wanted '$2', found '$3'"; fi
}

# A project whose tests end in every way that there is; $1 is added to its meson.build.
project() {
    rm -rf "$tree/project" && mkdir -p "$tree/project/tools" && cd "$tree/project" || exit 2
    cp "$root/tools/test" tools/
    cat >meson.build <<END
project('ends', 'c')
sh = find_program('sh')
test('passes', sh, args: ['-c', 'echo "[  PASSED  ] 99 test(s)."; echo "5 passed, 0 failed"'], suite: 'unit')
test('passes-too', sh, args: ['-c', 'exit 0'], suite: 'unit')
$1
END
}
run() { # STEP...: sets out and code
    out=$(bash tools/test "$@" 2>&1 </dev/null)
    code=$?
}
last() { tail -n 1 <<<"$out"; }

counts() {
    project ""
    run unit
    is "tests that pass are counted, with the build, and what they print is not" "3 passed, 0 failed" "$(last)"
    is "then the exit code is 0" 0 "$code"

    project "test('fails', sh, args: ['-c', 'echo because of the moon; exit 3'], suite: 'unit')
test('skips', sh, args: ['-c', 'echo no mounts here; exit 77'], suite: 'unit')
test('crashes', sh, args: ['-c', 'kill -SEGV \$\$'], suite: 'unit')
test('hangs', sh, args: ['-c', 'sleep 60'], suite: 'unit', timeout: 1)
test('elsewhere', sh, args: ['-c', 'exit 1'], suite: 'system')"
    run unit
    is "tests that fail, crash or hang have failed, one that skips is skipped" "3 passed, 3 failed, 1 skipped" "$(last)"
    is "then the exit code is not 0" 1 "$code"
    is "a failing test's words are shown" 1 "$(grep -c '^ *because of the moon' <<<"$out")"
    is "and how to run it again" 1 "$(grep -c "^-- again with: meson test .*'fails'" <<<"$out")"
    is "a skipped test says why" 1 "$(grep -c '^skipped: skips: no mounts here' <<<"$out")"

    project "executable('broken', 'broken.c')"
    echo 'int main(void) { return forgotten; }' >broken.c
    run unit
    is "a build that fails is one failure, and nothing is run" "0 passed, 1 failed" "$(last)"
    is "the compiler's words are shown" 1 "$(grep -c "broken.c.*error: .*forgotten" <<<"$out")"

    project "executable('unused', 'unused.c', c_args: '-Wall')"
    echo 'int main(void) { int x; return 0; }' >unused.c
    run unit
    is "a warning breaks the build" "0 passed, 1 failed" "$(last)"

    # A runner that dies half-way leaves a log that lacks tests.
    project ""
    mkdir bin && cat >bin/meson <<END
#!/bin/sh
"$(command -v meson)" "\$@"
[ "\$1" = test ] && sed -i 1d build/meson-logs/unit.json
exit 0
END
    chmod +x bin/meson
    PATH=$PWD/bin:$PATH run unit
    is "a test that left no result has failed" "2 passed, 1 failed" "$(last)"
}

# Runs tools/setup with stand-ins that write down how they were called. All but the named packages count as installed.
setup_with() { # USER-ID MISSING [OPTION...]: sets out, code, calls
    rm -rf "${tree:?}"/{bin,calls} && mkdir -p "$tree/bin" && cd "$tree" || exit 2
    cat >bin/dpkg-query <<END
#!/bin/bash
[[ " $2 " == *" \${*: -1} "* ]] && exit 1
echo installed
END
    printf '#!/bin/sh\necho %s\n' "$1" >bin/id
    # shellcheck disable=SC2016 # for the stand-in to expand
    printf '#!/bin/sh\necho "apt-get $*" >>%q\n' "$tree/calls" >bin/apt-get
    printf '#!/bin/sh\necho systemctl >>%q\n' "$tree/calls" >bin/systemctl
    [ -z "${with_sudo-}" ] || printf '#!/bin/sh\necho sudo >>%q\nexec "$@"\n' "$tree/calls" >bin/sudo
    chmod +x bin/*
    # Only the stand-ins and the shell's own needs are on the path, so that no real sudo is found.
    for tool in bash env tail cat; do ln -sf "$(command -v $tool)" bin/; done
    out=$(PATH=$tree/bin "$root/tools/setup" "${@:3}" 2>&1)
    code=$?
    calls=$(cat calls 2>/dev/null)
}
setup() {
    local out code calls
    setup_with 1000 ""
    is "setup does nothing when all is there" "0:::" "$code::$out:$calls"
    setup_with 1000 "jq tmux"
    is "setup without rights fails" 1 "$code"
    is "and says what to run" 1 "$(grep -c '^ *apt-get update && apt-get install .*jq tmux$' <<<"$out")"
    with_sudo=yes setup_with 1000 "jq"
    is "setup uses sudo where there is one" 2 "$(grep -c '^sudo$' <<<"$calls")"
    setup_with 0 "jq tmux"
    is "setup updates the lists once" 1 "$(grep -c 'apt-get .* update$' <<<"$calls")"
    is "and installs what is missing, once" 1 "$(grep -c 'apt-get .* install .* jq tmux$' <<<"$calls")"
    setup_with 0 "python3-torch"
    is "setup leaves torch alone" "" "$calls"
    setup_with 0 "python3-torch" --torch
    is "unless it is asked for" 1 "$(grep -c 'install .* python3-torch$' <<<"$calls")"
}

counts
setup
echo "1..${#results[@]}"
printf '%s\n' "${results[@]}"
! printf '%s\n' "${results[@]}" | grep -q '^not ok'
