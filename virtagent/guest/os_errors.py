"""Errors of system calls as answers to calls."""

from __future__ import annotations

import errno

from virtagent.errors import (
    AlreadyExists,
    CallError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    UnknownError,
)

__all__ = ["call_error"]

_CLASSES: dict[int, type[CallError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotFound,
    errno.ENXIO: NotFound,
    errno.ENODEV: NotFound,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EEXIST: AlreadyExists,
    errno.EISDIR: FailedPrecondition,
    errno.ENOTEMPTY: FailedPrecondition,
    errno.EROFS: FailedPrecondition,
    errno.EXDEV: FailedPrecondition,
    errno.EMLINK: FailedPrecondition,
    errno.EOPNOTSUPP: FailedPrecondition,
    errno.ESPIPE: FailedPrecondition,
    errno.ETXTBSY: FailedPrecondition,
    errno.EINVAL: InvalidArgument,
    errno.ELOOP: InvalidArgument,
    errno.ENAMETOOLONG: InvalidArgument,
    errno.ENOSPC: ResourceExhausted,
    errno.EDQUOT: ResourceExhausted,
    errno.EFBIG: ResourceExhausted,
    errno.EMFILE: ResourceExhausted,
    errno.ENFILE: ResourceExhausted,
    errno.ENOMEM: ResourceExhausted,
    errno.EIO: DataLoss,
    errno.ESTALE: DataLoss,
    errno.EBUSY: Unavailable,
    errno.ETIMEDOUT: Unavailable,
}


def call_error(what: str, error: OSError) -> CallError:
    """The answer that tells of an error of the system: its class by errno, its text ``what: No such file``."""
    cls = _CLASSES.get(error.errno or 0, UnknownError)
    return cls(f"{what}: {error.strerror or error}", data={"errno": errno.errorcode.get(error.errno or 0, "")})
