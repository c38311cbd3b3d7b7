#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that what `make install` puts somewhere works there: the command runs and finds its library, a program builds
# against the public header by pkg-config, each manual page is there. Uses the gcc build; prints TAP.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tree=$(mktemp -d) && trap 'rm -rf "$tree"' EXIT
results=()
result() { # SENTENCE, after the command that shows it
    # shellcheck disable=SC2181
    if [ $? -eq 0 ]; then results+=("ok $((${#results[@]} + 1)) - $1"); else results+=("not ok $((${#results[@]} + 1)) - $1"); fi
}

DESTDIR=$tree meson install -C "$root/build" --no-rebuild >"$tree/log" 2>&1
result "make install obeys DESTDIR"

bin=$(dirname "$(find "$tree" -type f -name tiercel -perm -u+x)")
version=$(env -u LD_LIBRARY_PATH "$bin/tiercel" --version 2>&1)
result "the installed command runs where it is: $version"
grep -q "$(meson introspect "$root/build" --projectinfo | jq -r .version)" <<<"$version"
result "and tells the project's version"

[ -x "$(find "$tree" -type f -name tierceld)" ]
result "the daemon is installed"
[ -z "$(cd "$root" && find docs/man -name '*.[1-9]' | while read -r page; do
    find "$tree" -name "${page##*/}" | grep -q . || echo "$page"
done)" ]
result "all manual pages are installed"

cat >"$tree/user.c" <<'END'
#include <stdio.h>
#include <tiercel/tiercel.h>
int main(void)
{
    printf("%s\n", tiercel_version());
    return 0;
}
END
export PKG_CONFIG_SYSROOT_DIR=$tree PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$tree" -name tiercel.pc)")
# shellcheck disable=SC2046 # words, on purpose
gcc -std=c99 -pedantic -Wall -Werror -o "$tree/user" "$tree/user.c" $(pkg-config --cflags --libs tiercel) >>"$tree/log" 2>&1
result "a C99 program builds by pkg-config"
LD_LIBRARY_PATH=$(dirname "$(find "$tree" -name 'libtiercel.so.*' | head -n 1)") "$tree/user" >>"$tree/log" 2>&1
result "and runs"

libraries=$(dirname "$(find "$tree" -name 'libtiercel.so.*' | head -n 1)")
if command -v mpicc.openmpi >/dev/null; then
    # shellcheck disable=SC2046 # words, on purpose
    mpicc.openmpi -D_GNU_SOURCE -Wall -Werror -o "$tree/counter" "$root/examples/counter.c" \
        $(pkg-config --cflags --libs tiercel) >>"$tree/log" 2>&1 &&
        OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 LD_LIBRARY_PATH=$libraries \
            mpirun.openmpi --oversubscribe -n 2 "$tree/counter" "$tree/pool" 3 2>&1 | tee -a "$tree/log" | grep -q '^counter 6, sum 6'
    result "an example builds and runs as its users would do it"
fi
package=$(find "$tree" -path '*/tiercel/__init__.py' | head -n 1)
if [ -n "$package" ]; then
    folder=${package%/tiercel/__init__.py}
    LD_LIBRARY_PATH=$libraries PYTHONPATH=$folder PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - >>"$tree/log" 2>&1 <<END
import site
import tiercel
assert "${folder#"$tree"}" in site.getsitepackages(), "Python does not look there"
tiercel.create("$tree/python")
with tiercel.connect("$tree/python") as pool:
    pool.create("c")
    with pool.open("c") as cont, cont.epoch() as e:
        e.kv(1)["a"] = b"b"
assert tiercel.__version__ in "$version"
END
    result "import tiercel"
fi

echo "1..${#results[@]}"
printf '%s\n' "${results[@]}"
printf '%s\n' "${results[@]}" | grep -q '^not ok' || exit 0
sed 's/^/# /' "$tree/log"
exit 1
