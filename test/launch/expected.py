# SPDX-License-Identifier: Apache-2.0
"""What a rung cannot do by its nature: row -> reason, for all users or for one. `tiercel doctor` says it, too."""

RUNGS = ("fuse",)

_SETUID_IN_USER_NAMESPACE = "a setuid program has no privilege in a user namespace"

EXPECTED = {
    "fuse": {
        "all": {},
        "nobody": {"setuid": _SETUID_IN_USER_NAMESPACE},
    },
}
