# SPDX-License-Identifier: Apache-2.0
"""What a rung cannot do by its nature (row -> reason, for all users or for one; "at times: " if it mostly can; `tiercel
doctor` says it, too), and what becomes of programs when something dies (docs/launch.md)."""

import os
import tempfile

RUNGS = ("bind", "fuse", "fault", "inject", "preload")

_SETUID_IN_USER_NAMESPACE = "a setuid program has no privilege in a user namespace"
_NO_ATTRIBUTES = "files in shared memory have no extended attributes, or not before the tree is complete"
_NOT_PRELOADED = "a static program has no loader that could put a library into it"
_TO_SOURCE = "{} lead to the source's path, not to the prefix"


def _shared_memory_has_attributes():
    """From Linux 6.6 on."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as f:
        try:
            os.setxattr(f.name, "user.x", b"1")
        except OSError:
            return False
    return True


# Whom the rung does not reach sees what is there without it, and nothing else.
SEES_SOURCE = (_NOT_PRELOADED,)

EXPECTED = {
    "bind": {
        "all": {},
        "nobody": {"setuid": _SETUID_IN_USER_NAMESPACE},
    },
    "fault": {
        "all": {
            "sigalrm": "at times: a signal that comes before an open is heard of interrupts it, unless SA_RESTART is set",
            "io_uring": "opens of io_uring pass no filter, so it is said not to exist",
            **dict.fromkeys("abslink realpath static:realpath raw:open go:open".split(), _TO_SOURCE.format("absolute links in the tree")),
            "inlink": _TO_SOURCE.format("links from elsewhere"),
            **dict.fromkeys("hashbang pt-interp rpath rpath-outside".split(), _TO_SOURCE.format("paths inside files")),
            **dict.fromkeys("dotdot-in dotdot-out dirfd-dotdot chdir envi envi-static static:chdir static:envi".split(),
                            "there is nothing beside the tree at its prefix"),
        },
        "nobody": {
            "xattr": _NO_ATTRIBUTES,
            **dict.fromkeys("statx statx-libc find go:readdir".split(), "a file that was not opened yet shows no read permission"),
            "setuid": "a supervised program cannot gain rights",
        },
    },
    "fuse": {
        "all": {},
        "nobody": {"setuid": _SETUID_IN_USER_NAMESPACE},
    },
    "inject": {
        "all": {"io_uring": "a ring would open files past the filter, so there is none", "xattr": _NO_ATTRIBUTES},
        "nobody": {"setuid": "a setuid program has no privilege under a filter (NO_NEW_PRIVS)"},
    },
    "preload": {
        "all": {
            **dict.fromkeys("""exec-static envi-static static:statx static:chdir static:exec static:dirfd static:realpath
                static:threads static:getdents static:read static:exec-script static:vfork static:envi raw:open raw:read
                raw:stat raw:readdir raw:chdir raw:exec raw:par go:open go:stat go:readdir go:chdir go:exec go:par
                busybox-static""".split(), _NOT_PRELOADED),
            "io_uring": "the kernel opens files for rings, without a call of the library",
        },
        "nobody": {"setuid": "a setuid program sees what is natively there", "xattr": _NO_ATTRIBUTES},
        "root": {},
    },
}

if not _shared_memory_has_attributes():
    EXPECTED["bind"]["all"]["xattr"] = EXPECTED["fault"]["all"]["xattr"] = _NO_ATTRIBUTES
    EXPECTED["preload"]["root"]["xattr"] = _NO_ATTRIBUTES

# Where the path is not on this machine, whatever the rung.
ABSENT = {"lsroot": "the directory above lists what is there"}

# Case of `life` -> how it ends.
ENDS = {
    "inject": {
        "helper-killed": "fails",
        "daemon-killed": "served",
        "tier-killed": "fails",  # what nobody can fill is opened at the source: here that is the decoy
        "tier-down": "fails",
        "outlives": "served",
        "nested": "served",
        "terminated": "served",
    },
    "preload": {
        "helper-killed": "fails",  # what nobody can fill is opened at the source: here that is the decoy
        "daemon-killed": "served",
        "tier-killed": "fails",
        "tier-down": "fails",
        "outlives": "served",
        "nested": "served",
        "terminated": "served",
    },
    "bind": {
        "helper-killed": "no helper",
        "daemon-killed": "served",
        "tier-killed": "served",
        "tier-down": "served",
        "outlives": "served",
        "nested": "served",
        "terminated": "served",
    },
    "fault": {
        "helper-killed": "fails",
        "daemon-killed": "served",
        "tier-killed": "fails",  # what is not filled is opened at the source, which is a decoy here
        "tier-down": "fails",
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
