# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# A source tree for tests: many small files, files of several chunks, and what file systems have at their edges.

# make_tree DIR: the same shape each time; the bytes are random.
make_tree() {
    local top=$1 i d
    mkdir -p "$top" && chmod 755 "$top"
    for d in a a/b a/b/c lib; do
        mkdir -p "$top/$d"
        for ((i = 0; i < 40; i++)); do
            head -c $((i * i * 17 + i)) /dev/urandom >"$top/$d/file-$i"
        done
    done
    mkdir "$top/empty-dir"
    : >"$top/empty-file"
    head -c 5000000 /dev/urandom >"$top/lib/large-1"
    head -c 262144 /dev/urandom >"$top/lib/one-chunk"
    head -c 262145 /dev/urandom >"$top/lib/one-chunk-and-one"
    truncate -s 3M "$top/sparse" && printf x | dd of="$top/sparse" bs=1 seek=1500000 conv=notrunc status=none
    ln -s a/b/c "$top/link-to-dir"
    ln -s ../lib/one-chunk "$top/a/link-up"
    ln -s nowhere "$top/dangling"
    printf 'odd' >"$top/$(printf 'new\nline')"
    printf 'odd' >"$top/$(printf 'not-utf8-\377')"
    printf 'odd' >"$top/ back\\slash \"quotes\" "
    printf '#!/bin/sh\necho ran\n' >"$top/script" && chmod 755 "$top/script"
}

# tree_sums DIR: every name with its kind, size, link target and sum, in a fixed order.
tree_sums() {
    (
        cd "$1" || exit 1
        find . -printf '%P\t%y\t%m\t%l\n' | LC_ALL=C sort
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r md5sum
    )
}
