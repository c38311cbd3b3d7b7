# SPDX-License-Identifier: Apache-2.0
"""What a rung cannot do by its nature (row -> reason, for all users or for one; `tiercel doctor` says it, too), and what
becomes of programs when something dies (docs/launch.md)."""

RUNGS = ("fuse", "bind")

_SETUID_IN_USER_NAMESPACE = "a setuid program has no privilege in a user namespace"
_NO_ATTRIBUTES = "files in shared memory have no extended attributes"

EXPECTED = {
    "bind": {
        "all": {"xattr": _NO_ATTRIBUTES},
        "nobody": {"setuid": _SETUID_IN_USER_NAMESPACE},
    },
    "fuse": {
        "all": {},
        "nobody": {"setuid": _SETUID_IN_USER_NAMESPACE},
    },
}

# Case of `life` -> how it ends.
ENDS = {
    "bind": {
        "helper-killed": "no helper",
        "daemon-killed": "served",
        "tier-killed": "served",
        "tier-down": "served",
        "outlives": "served",
        "nested": "served",
        "terminated": "served",
    },
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
