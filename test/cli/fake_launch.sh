#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stand-in for tiercel-launch: says what it was asked for on standard error, then runs the command.
if [ "$1" = --probe ]; then # name, whether it can be had, summary, condition, limits, why not
    printf 'best\tno\tthe best way\t\tits limits\tit is refused; ask for it, or sell your car\n'
    printf 'whole\tyes\ta way for some\tpaths that are whole\t\t\n'
    printf '%s\tyes\ta way for all\t\twhat it cannot do\t\n' usual
    printf 'worse\tyes\ta worse way\t\t\t\n'
    exit 0
fi
for arg in "$@"; do
    shift
    [ "$arg" = -- ] && break
    printf 'launch %s\n' "$arg" >&2
done
exec "$@"
