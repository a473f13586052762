"""The one error that a user can mend."""

import re

_LONGEST_REASON = 120  # characters


class UserError(Exception):
    """Something outside the program is wrong: one line naming the file and the mend. Scripts exit with 2."""


def short_reason(error: BaseException) -> str:
    """Why the network failed, in a few words: the innermost cause of what urllib3 and others wrap three times."""
    text = (str(error).strip().splitlines() or [""])[0]
    causes = re.findall(r"\[Errno -?\d+\] ([^'\")\]>]+)", text)
    return causes[-1].strip() if causes else text[:_LONGEST_REASON] or type(error).__name__
