# SPDX-License-Identifier: Apache-2.0
"""What a rung cannot do by its nature (row -> reason, for all users or for one; `tiercel doctor` says it, too), and what
becomes of programs when something dies (docs/launch.md)."""

RUNGS = ("fuse",)

_SETUID_IN_USER_NAMESPACE = "a setuid program has no privilege in a user namespace"

EXPECTED = {
    "fuse": {
        "all": {},
        "nobody": {"setuid": _SETUID_IN_USER_NAMESPACE},
    },
}

# Case of `life` -> how it ends.
ENDS = {
    "fuse": {
        "helper-killed": "served",
        "daemon-killed": "served",
        "tier-killed": "plain",
        "tier-down": "plain",
        "outlives": "served",
        "nested": "served",
        "terminated": "served",
    },
}
