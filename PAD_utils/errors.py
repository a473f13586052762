"""The one error that a user can mend."""


class UserError(Exception):
    """Something outside the program is wrong: one line naming the file and the mend. Scripts exit with 2."""
