"""One command line for every script: flags in any spelling, errors in one line, a guess at a mistyped flag."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """argparse, kinder to a hurried hand.

    Every long flag is declared as `--two_words` and may be written `--two_words`, `--two-words`, `-two_words` or
    `-two-words` (the original SplatPose has flags of the third kind). A wrong command line ends in one line, with a
    guess at what was meant, and exit code 2.
    """

    def __init__(self, description: str | None, usage: str = "%(prog)s [options]") -> None:
        super().__init__(
            description=description,
            usage=usage,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse, after every flag has been brought to its declared spelling."""
        return super().parse_known_args(
            [self._declared(a) for a in (sys.argv[1:] if args is None else args)], namespace
        )

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """As argparse; an unknown flag is answered by the nearest one that exists."""
        known, extras = self.parse_known_args(args, namespace)
        if extras:
            self.error(self._complaint(extras))
        return known

    def error(self, message: str) -> NoReturn:
        """One line, exit code 2."""
        self.exit(2, f"error: {message} (--help lists what there is)\n")

    def _declared(self, argument: str) -> str:
        flag, equals, value = argument.partition("=")
        if not flag.startswith("-") or flag in self._option_string_actions:
            return argument
        declared = "--" + flag.lstrip("-").replace("-", "_")
        return declared + equals + value if declared in self._option_string_actions else argument

    def _complaint(self, extras: Sequence[str]) -> str:
        wrong = next((extra for extra in extras if extra.startswith("-")), extras[0])
        message = f"unrecognized argument {wrong}"
        known = {flag.lstrip("-"): flag for flag in self._option_string_actions}
        typed = wrong.partition("=")[0].strip("-").replace("-", "_")
        nearest = difflib.get_close_matches(typed, known, n=1) if wrong.startswith("-") else []
        return f"{message}; did you mean {known[nearest[0]]}?" if nearest else message
