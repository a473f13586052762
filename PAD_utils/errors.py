"""The one error that a user can mend."""

import errno
import re
from collections.abc import Iterator

_LONGEST_REASON = 120  # characters
_LONGEST_LINE = 1000
_OUTER = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP),
}
_NO_MEMORY = (  # what torch, OpenCV, the C++ library, Python's threads and the loader of libraries say without memory
    *("can't allocate memory", "Cannot allocate memory", "bad_alloc", "Insufficient memory", "can't start new thread"),
    *("failed to map segment", "Unable to allocate"),
)


class UserError(Exception):
    """Something outside the program is wrong: one line naming the file and the mend. Scripts exit with 2."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line that nobody has to scroll: of thousands of letters both ends."""
    text = " ".join(str(error).splitlines())
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE // 2]} ... {text[-_LONGEST_LINE // 2 :]}"


def short_reason(error: BaseException) -> str:
    """Why the network failed, in a few words: the innermost cause of what urllib3 and others wrap three times."""
    text = (str(error).strip().splitlines() or [""])[0]
    causes = re.findall(r"\[Errno -?\d+\] ([^'\")\]>]+)", text)
    return causes[-1].strip() if causes else text[:_LONGEST_REASON] or type(error).__name__


def outer_reason(error: BaseException) -> str | None:
    """What the machine lacks, memory or a place to write to, when that is why `error` came about, and the mend; else
    None."""
    for cause in _causes(error):
        no_memory = isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM)
        if no_memory or any(text in str(cause) for text in _NO_MEMORY):
            return f"the memory is full ({short_reason(cause)}); free some, or shrink with --resolution"
        if isinstance(cause, OSError) and cause.errno in _OUTER:
            return f"{cause.filename or 'a file'} cannot be read or written ({cause.strerror}); mend that and go on"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
