# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# For tests that use the lab: assertions that go on after a failure, print both values, and end what was started.
#
#   begin 'a sentence that should be true'
#   same WHAT GOT WANTED | at_most WHAT GOT LIMIT | succeeds CMD... | fails_with REGEX CMD...
#   finish                   the last line of a test
#
# shellcheck source=test/lab/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"

TEST_FAILED=0
TEST_NAME=
TEST_TEMP=$(mktemp -d /tmp/tiercel-test.XXXXXX)
trap 'lab_down; rm -rf "$TEST_TEMP"' EXIT
trap 'exit 130' INT TERM

begin() {
    TEST_NAME=$1
    printf '# %s\n' "$1"
}

failed() {
    TEST_FAILED=$((TEST_FAILED + 1))
    printf 'FAILED: %s\n    %s\n    again: TIERCEL_BUILD=%s %s\n' "$TEST_NAME" "$*" "${TIERCEL_BUILD:-}" "$0"
    if [[ -n ${LAB_DIR:-} ]]; then
        tail -n 2 "$LAB_DIR"/daemon-*.log 2>/dev/null | sed 's/^/    | /' | head -n 24
    fi
}

same() { [[ $2 == "$3" ]] || failed "$1: got '$2', wanted '$3'"; }

at_most() { (($2 <= $3)) || failed "$1: got $2, wanted at most $3"; }

succeeds() {
    local rc=0
    "$@" >"$TEST_TEMP/out" 2>&1 || rc=$?
    ((rc == 0)) || failed "$*: status $rc: $(tail -c 400 "$TEST_TEMP/out")"
}

# The command must fail, and say something that fits the pattern.
fails_with() {
    local pattern=$1 rc=0
    shift
    "$@" >"$TEST_TEMP/out" 2>&1 || rc=$?
    ((rc != 0)) || failed "$*: succeeded, should have failed with: $pattern"
    grep -qiE -- "$pattern" "$TEST_TEMP/out" || failed "$*: said '$(tail -c 400 "$TEST_TEMP/out")', wanted: $pattern"
}

# One number of the file system's counters: ctl_number .opens
ctl_number() { lab_ctl stat | jq -r "$1"; }

finish() {
    ((TEST_FAILED == 0)) || { printf '%d assertions failed\n' "$TEST_FAILED"; exit 1; }
    exit 0
}

lab_possible || exit
