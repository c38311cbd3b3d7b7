#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A stand-in for `scontrol show hostnames LIST`, for lists like n[1-3], and for `scontrol show topology`.
if [ "$1 $2" = "show topology" ]; then
    [ "$FAKE_TOPOLOGY" = FAIL ] && echo "Unable to read topology" >&2 && exit 1
    printf '%s' "$FAKE_TOPOLOGY"
    exit 0
fi
[ "$1 $2" = "show hostnames" ] || exit 1
case $3 in
bad*) echo "slurm_load_node: Unable to contact slurm controller" >&2 && exit 1 ;;
esac
list=${3#*[}
list=${list%]}
seq -f "${3%%[*}%.0f" "${list%-*}" "${list#*-}"
