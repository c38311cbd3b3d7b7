# SPDX-License-Identifier: Apache-2.0
"""The exceptions: one class for each errno that a program may want to handle."""
import errno

from . import _tiercel


class Error(OSError):
    """What went wrong: ``errno`` is the code, ``strerror`` the sentence."""


class NotFound(Error, FileNotFoundError):
    """ENOENT: no such pool, container, snapshot, attribute."""


class Exists(Error, FileExistsError):
    """EEXIST: it is there already."""


class Denied(Error, PermissionError):
    """EACCES: it was opened for reading."""


class NotHeld(Error):
    """EROFS: this epoch is not held, so nothing can be written or committed in it."""


class Stale(Error):
    """ESTALE: this epoch was aggregated, and is no snapshot: it cannot be read any more."""


class Damaged(Error):
    """EBADMSG: bytes fail their check."""


class Closed(Error):
    """EBADF: it was closed, or evicted, or its pool was."""


class Canceled(Error):
    """ECANCELED: what was waited for cannot come any more."""


class Busy(Error, BlockingIOError):
    """EBUSY, EAGAIN: somebody else has it."""


class NoSpace(Error):
    """ENOSPC: the disk is full. Nothing that was committed is lost."""


class TimedOut(Error, TimeoutError):
    """ETIMEDOUT: it did not come in time."""


_tiercel.error_types.update({
    errno.ENOENT: NotFound, errno.EEXIST: Exists, errno.EACCES: Denied, errno.EROFS: NotHeld, errno.ESTALE: Stale,
    errno.EBADMSG: Damaged, errno.EBADF: Closed, errno.ECANCELED: Canceled, errno.EBUSY: Busy, errno.EAGAIN: Busy,
    errno.ENOSPC: NoSpace, errno.ETIMEDOUT: TimedOut,
})
for _code in errno.errorcode:
    _tiercel.error_types.setdefault(_code, Error)
