"""What a station is told on its command line, and the limits of what it takes."""

import argparse
import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PAD_utils.arguments import ArgumentParser
from PAD_utils.errors import UserError
from PAD_utils.run.config import RunConfig

TOKEN_VARIABLE = "STATION_TOKEN"
_SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Limits:
    """What is taken at most. `parts_in_flight` and `pixels_in_flight`: accepted and not yet answered, of all clients
    together. `upload_s`: seconds that a request may take to arrive. `listeners`: pages that are told at once.
    `batch`: parts that a GPU judges together when so many wait."""

    pictures_per_part: int = 12
    picture_bytes: int = 32 << 20
    request_bytes: int = 96 << 20
    picture_pixels: int = 64_000_000
    parts_in_flight: int = 64
    pixels_in_flight: int = 256_000_000
    upload_s: float = 60.0
    listeners: int = 32
    batch: int = 16


@dataclass(frozen=True)
class Settings:
    """A station. `classes` are served by the models of their result folders, `devices` each get a thread and the models
    once. `names`: host names it is known by beside its own. `rate`: requests a second of one address. `keep`: parts
    whose pictures are kept; None of `token` or `watch`: without."""

    data_path: Path
    classes: Sequence[str]
    prefix: str
    seed: int
    store: Path
    host: str = "127.0.0.1"
    port: int = 8000
    watch: Path | None = None
    token: str | None = None
    names: Sequence[str] = ()
    devices: Sequence[str | None] = (None,)
    rate: float = 200.0
    keep: int = 10_000
    certificate: Path | None = None
    key: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def run_of(self, classname: str) -> RunConfig:
        """The run that trained a class."""
        return RunConfig(classname=classname, data_path=self.data_path, prefix=self.prefix, seed=self.seed)

    @property
    def scheme(self) -> str:
        return "http" if self.certificate is None else "https"


def parse_settings(argv: Sequence[str] | None = None) -> Settings:
    """The settings of a command line. Raises UserError when it would open the station to others without a token."""
    args = _parser().parse_args(argv)
    known = vars(args) | {"token": args.token or os.environ.get(TOKEN_VARIABLE) or None}
    known["store"] = args.store or args.data_path / f"results_{args.prefix}_{args.seed}" / "station"
    settings = Settings(**known)
    check_settings(settings)
    return settings


def check_settings(settings: Settings) -> None:
    """Raises UserError, naming the flag and the mend, when a station may not be opened like this."""
    if settings.token is None and not is_loopback(settings.host):
        raise UserError(
            f"--host {settings.host} opens the station to other machines, which needs a token: set the variable "
            f"{TOKEN_VARIABLE} (or --token), for instance to {secrets.token_urlsafe(24)}"
        )
    if settings.token is not None and len(settings.token) < _SHORTEST_TOKEN:
        raise UserError(f"--token is too short to be safe; take {_SHORTEST_TOKEN} characters or more")
    if (settings.certificate is None) != (settings.key is None):
        raise UserError("--certificate and --key go together; give both for HTTPS, or none")
    for flag, path in (("--certificate", settings.certificate), ("--key", settings.key)):
        if path is not None and not path.is_file():
            raise UserError(f"{flag} {path}: no such file")
    if settings.watch is not None and not settings.watch.is_dir():
        raise UserError(f"--watch {settings.watch}: no such folder; make it first")
    if not 0 <= settings.port < 1 << 16:
        raise UserError(f"--port must lie between 0 and 65535, got {settings.port}")
    if settings.rate <= 0 or settings.keep < 0:
        raise UserError("--rate must be above 0 and --keep at least 0")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at this address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    run = RunConfig()
    parser = ArgumentParser(
        "Serves inspections by trained classes: docs/station.md.", "python -m PAD_utils.station [options]"
    )
    models = parser.add_argument_group("models")
    models.add_argument(
        "--data_path",
        type=Path,
        default=run.data_path,
        metavar="FOLDER",
        help="folder that holds the classes (default: %(default)s)",
    )
    models.add_argument("-c", "--classname", dest="classes", nargs="+", required=True, metavar="CLASS", help="classes")
    models.add_argument(
        "-p", "--prefix", default=run.prefix, metavar="NAME", help=f"as in training (default: {run.prefix})"
    )
    models.add_argument("--seed", type=int, default=run.seed, metavar="N", help=f"as in training (default: {run.seed})")
    models.add_argument(
        "--device", dest="devices", nargs="+", default=[None], metavar="NAME",
        help="'cpu', 'cuda', or several such as cuda:0 cuda:1 (default: the GPU when there is one)",
    )  # fmt: skip
    files = parser.add_argument_group("files")
    files.add_argument(
        "--store", type=Path, metavar="FOLDER", help="where answers are kept (default: 'station' among the results)"
    )
    files.add_argument("--watch", type=Path, metavar="FOLDER", help="judge every picture that is put into this folder")
    files.add_argument(
        "--keep", type=int, default=Settings.keep, metavar="N",
        help="parts whose pictures are kept; labeled ones and all decisions always are (default: %(default)s)",
    )  # fmt: skip
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host", default=Settings.host, help="address to listen at (default: %(default)s, this machine only)"
    )
    server.add_argument("--port", type=int, default=Settings.port, metavar="N", help="(default: %(default)s)")
    server.add_argument(
        "--token", help=f"what clients must show; the variable {TOKEN_VARIABLE} keeps it out of process lists"
    )
    server.add_argument(
        "--names", nargs="+", default=[], metavar="NAME", help="host names that clients call the station by"
    )
    server.add_argument(
        "--rate",
        type=float,
        default=Settings.rate,
        metavar="X",
        help="requests a second of one address (default: %(default)s)",
    )
    server.add_argument("--certificate", type=Path, metavar="FILE", help="certificate chain (PEM), for HTTPS")
    server.add_argument("--key", type=Path, metavar="FILE", help="its private key (PEM)")
    return parser
