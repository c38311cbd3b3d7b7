#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that each check of tools/ works: passes on a sound little tree, and fails, naming the file, on one planted
# violation after another. Prints a plan and `ok` or `not ok` for each (TAP).
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
tree=$(mktemp -d) && trap 'rm -rf "$tree"' EXIT
results=()

# A sound tree in a fresh folder, as small as it may be.
sound() {
    find "$tree" -mindepth 1 -delete
    cp "$root/.clang-format" "$tree"
    mkdir -p "$tree"/{src/{base,core/node,net,sim,front/launch,cli,client},include/tiercel,test/core,docs/decisions,docs/man,tools}
    cd "$tree" || exit 2
    put src/base/hash.h '// SPDX-License-Identifier: Apache-2.0' '#ifndef H' '#define H' 'int tl_hash(int x);' '#endif'
    put src/net/transport.h '// SPDX-License-Identifier: Apache-2.0' 'struct tl_net;'
    put src/core/request.h '// SPDX-License-Identifier: Apache-2.0' '#include "base/hash.h"' 'struct tl_request;'
    put include/tiercel/tiercel.h '// SPDX-License-Identifier: Apache-2.0' '#ifndef T' '#define T' 'int tiercel_open(void);' '#endif'
    put src/core/node/node.c '// SPDX-License-Identifier: Apache-2.0' '#include "core/request.h"' '' 'int tl_node(void); // P-1'
    put docs/protocol.md '# Protocol' '' '**P-1** One flight a key and node.' '' '[the code](../src/core/node/node.c)'
}
put() { # FILE LINE...
    mkdir -p "$(dirname "$1")" && printf '%s\n' "${@:2}" >"$1"
}
lines() { # COUNT TEXT
    awk -v n="$1" -v text="$2" 'BEGIN { for (i = 0; i < n; i++) print text }'
}

# A function of that many lines in all, laid out as clang-format does.
function_of() { # LINES
    printf '%s\n' '// SPDX-License-Identifier: Apache-2.0' '' 'int tl_long(int x,' '            int y)' '{'
    lines $(($1 - 4)) '    x += y;'
    echo '}'
}

result() { # ok|"not ok" SENTENCE
    results+=("$1 $((${#results[@]} + 1)) - $2")
}
# The check must pass on the tree as it is now.
passes() { # SENTENCE CHECK [ARG...]
    local out
    if out=$("$root/tools/$2" "${@:3}" 2>&1); then
        result ok "$2 passes on $1"
    else
        result "not ok" "$2 passes on $1: $(head -n 3 <<<"$out")"
    fi
}
# The check must fail on it, with a line that starts with the file's name and holds the word.
fails() { # SENTENCE FILE WORD CHECK [ARG...]
    local out status=0
    out=$("$root/tools/$4" "${@:5}" 2>&1) || status=$?
    if [ $status -eq 0 ]; then
        result "not ok" "$4 sees $1: it passed"
    elif ! grep -F -- "$3" <<<"$out" | grep -q "^$2:"; then
        result "not ok" "$4 sees $1: it does not name $2 and $3: $(head -n 3 <<<"$out")"
    else
        result ok "$4 sees $1"
    fi
    sound
}
plant() { # FILE LINE...: adds the lines
    mkdir -p "$(dirname "$1")" && printf '%s\n' "${@:2}" >>"$1"
}
licence='// SPDX-License-Identifier: Apache-2.0'

layers() {
    local file include
    passes "a sound tree" check-layers "$tree"
    while read -r file include; do
        plant "$file" "#include \"$include\""
        fails "$file including $include" "$file" "$include" check-layers "$tree"
    done <<'END'
src/base/hash.h core/request.h
src/core/node/node.c net/transport.h
src/sim/world.c client/client.h
src/net/tcp.c core/request.h
src/front/fuse/fuse.c net/transport.h
src/front/launch/main.c core/request.h
src/client/client.c core/request.h
src/cli/main.c base/hash.h
include/tiercel/tiercel.h base/hash.h
END
    plant src/novel/part.c '#include "base/hash.h"'
    fails "a folder without a layer" src/novel/part.c check-layers check-layers "$tree"
    plant src/core/node/node.c '#include <stdio.h>'
    fails "a forbidden system header in the core" src/core/node/node.c stdio.h check-layers "$tree"
    plant src/net/tcp.c '#include <fuse_lowlevel.h>'
    fails "a library away from its home" src/net/tcp.c fuse_lowlevel.h check-layers "$tree"
    plant src/core/node/node.c '  #  include "../request.h"'
    fails "a path that is not from the root" src/core/node/node.c ../request.h check-layers "$tree"
    plant src/cli/main.c '#include <base/hash.h>'
    fails "our header in angle brackets" src/cli/main.c base/hash.h check-layers "$tree"
    plant src/base/hash.c '#include <tiercel/tiercel.h>'
    fails "the public API, as its users write it, where it does not belong" src/base/hash.c tiercel.h check-layers "$tree"
    plant examples/one.c "$licence" '#include "base/hash.h"'
    fails "an example that uses our insides" examples/one.c base/hash.h check-layers "$tree"
    plant python/ext/one.c "$licence" '#include <base/hash.h>'
    fails "the extension that uses our insides" python/ext/one.c base/hash.h check-layers "$tree"
    plant src/cli/main.c '#include <mpi.h>'
    fails "MPI away from the examples" src/cli/main.c mpi.h check-layers "$tree"
    plant examples/one.c "$licence" '#include <tiercel/tiercel.h>' '#include <mpi.h>' '#include "two.h"' && put examples/two.h "$licence"
    plant src/sim/world.c '#include "net/transport.h"' '#include "core/request.h"'
    plant src/cli/main.c '#include <tiercel/tiercel.h>' '#include "cli/cli.h"' && put src/cli/cli.h "$licence"
    plant test/core/test_x.c '#include "net/transport.h"' '#include "core/request.h"'
    passes "what is allowed" check-layers "$tree"
    sound
}

size() {
    function_of 70 >src/core/long.c
    { echo "$licence" && lines 999 '// text'; } >src/core/file.c
    passes "functions of 70 lines and files of 1,000" check-size "$tree"
    sound
    function_of 71 >src/core/long.c
    fails "a function of 71 lines" src/core/long.c tl_long check-size "$tree"
    { function_of 20 && echo && echo 'static const int primes[] = {' && lines 90 '    2,' && echo '};' && function_of 80; } >src/core/long.c
    fails "a long function after a long table" src/core/long.c tl_long check-size "$tree"
    { echo "$licence" && lines 1000 '// text'; } >src/core/file.c
    fails "a file of 1,001 lines" src/core/file.c 1001 check-size "$tree"
    { echo "$licence" && lines 600 '// text'; } >src/core/file.c
    if "$root/tools/check-size" "$tree" | grep -q '^src/core/file.c:1: warning: 601 lines'; then
        result ok "check-size warns from 601 lines"
    else
        result "not ok" "check-size warns from 601 lines"
    fi
    sound
}

headers() {
    passes "a sound tree" check-headers "$tree"
    plant src/core/request.h 'uint32_t tl_number(void);'
    fails "a header that lacks an include" src/core/request.h gnu11 check-headers "$tree"
    plant include/tiercel/tiercel.h 'int tiercel_close(int class);'
    fails "a public header that is not C++" include/tiercel/tiercel.h c++17 check-headers "$tree"
    plant include/tiercel/tiercel.h 'enum tiercel_kind { TIERCEL_ONE, };' 'struct tiercel_x { int a; union { int b; int c; }; };'
    fails "a public header that is not C99" include/tiercel/tiercel.h c99 check-headers "$tree"
}

format() {
    passes "a sound tree" check-format "$tree"
    plant src/core/node/node.c 'int   tl_spaces( void );'
    fails "C that is not laid out" src/core/node/node.c clang-format check-format "$tree"
    plant tools/run '#!/bin/bash' '# SPDX-License-Identifier: Apache-2.0' 'cd $1'
    fails "a script that shellcheck refuses" tools/run SC2164 check-format "$tree"
    plant docs/protocol.md $'a\ttab'
    fails "a tab" docs/protocol.md "a tab" check-format "$tree"
    plant docs/protocol.md 'blanks at the end  '
    fails "blanks at the end of a line" docs/protocol.md "end of the line" check-format "$tree"
    put src/core/node/other.c 'int tl_other(void);'
    fails "a file without the licence line" src/core/node/other.c SPDX check-format "$tree"
    plant src/core/node/node.c "// see /wor""k/notes"
    fails "a place of the workplace" src/core/node/node.c belongs check-format "$tree"
    plant docs/protocol.md "as is""sue #12 says"
    fails "an issue's number" docs/protocol.md "belongs" check-format "$tree"
    plant docs/protocol.md "made in se""ssion 7"
    fails "a session's number" docs/protocol.md "belongs" check-format "$tree"
}

# Compiles FILE's lines as the core's only object, in an archive.
archive() { # LINE...
    put object.c "${@}"
    rm -f core.a
    gcc -std=gnu11 -fno-builtin -c -o object.c.o object.c 2>/dev/null && ar rc core.a object.c.o
}
sans_io() {
    archive '#include <stdlib.h>' '#include <string.h>' 'void *tl_x_new(void);' \
        'void *tl_x_new(void) { return memset(calloc(1, 9), 1, 9); }'
    passes "a core that computes" check-sans-io "$tree/core.a"
    while IFS='|' read -r symbol header call; do
        archive "#include <$header>" "long f(void);" "long f(void) { return (long)$call; }"
        fails "a core that calls $symbol" object.c "$symbol" check-sans-io "$tree/core.a"
    done <<'END'
read|unistd.h|read(0, 0, 0)
write|unistd.h|write(1, "x", 1)
time|time.h|time(0)
printf|stdio.h|printf("x")
rand|stdlib.h|rand()
pthread_self|pthread.h|pthread_self()
malloc|stdlib.h|malloc(9)
free|stdlib.h|(free(0), 0)
tl_arena_at|stddef.h|tl_arena_at(0)
END
}

docs() {
    passes "a sound tree" check-docs "$tree"
    plant src/core/node/node.c '// P-2 says so'
    fails "a rule that is not there" src/core/node/node.c P-2 check-docs "$tree"
    plant docs/protocol.md '**P-3** Nobody does this.'
    fails "a rule that nothing cites" docs/protocol.md P-3 check-docs "$tree"
    plant docs/protocol.md '**P-1** Again.'
    fails "a number given twice" docs/protocol.md P-1 check-docs "$tree"
    plant docs/protocol.md 'See [there](nowhere.md#part).'
    fails "a link into the void" docs/protocol.md nowhere.md check-docs "$tree"
    put docs/man/tiercel.1 '.Dd today' '.Dt TIERCEL 1' '.Os' '.Sh NAME' '.Nm tiercel' '.Nd tier' '.Foo'
    fails "a manual page that mandoc refuses" docs/man/tiercel.1 Foo check-docs "$tree"
    put docs/man/tiercel.1 '.Dd November 21, 2026' '.Dt TIERCEL 1' '.Os' '.Sh NAME' '.Nm tiercel' '.Nd tier' '.Sh COMMANDS' \
        'tiercel up'
    put build/src/cli/tiercel '#!/bin/sh' 'printf "  up    starts\n  down    ends\n"' && chmod +x build/src/cli/tiercel
    fails "a command without its place in the manual" docs/man/tiercel.1 "'down'" check-docs "$tree"
    put docs/decisions/0001-one.md '# One' && put docs/decisions/0001-two.md '# Two'
    fails "two decisions with one number" docs/decisions 0001 check-docs "$tree"
}

sound
for check in layers size headers format sans_io docs; do "$check"; done
echo "1..${#results[@]}"
printf '%s\n' "${results[@]}"
! printf '%s\n' "${results[@]}" | grep -q '^not ok'
