"""The command: settings, station, web server."""

import logging
import socket
import sys
from collections.abc import Sequence

from PAD_utils.errors import UserError
from PAD_utils.run.job import run_script
from PAD_utils.station.settings import Settings, parse_settings

log = logging.getLogger(__name__)

_CONNECTIONS = 256
_IDLE_S, _FAREWELL_S = 10, 3
_LONGEST_HEAD = 16 << 10  # bytes of request line and headers
_SWITCH_S = 0.0005  # Python's 0.005 let the thread that feeds the GPU wait for those that read requests


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is stopped, and returns the exit code: 0, or 2 with one line on stderr."""
    return run_script(lambda: serve(parse_settings(argv)))


def serve(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM. Raises UserError when a package is missing or the address taken; as Station."""
    try:
        import uvicorn

        from PAD_utils.station.application import make_application
        from PAD_utils.station.station import Station
    except ModuleNotFoundError as error:
        raise UserError(f"the station needs the package {error.name}; pip install --group station") from error
    sys.setswitchinterval(_SWITCH_S)
    with listening(settings) as held:
        config = uvicorn.Config(
            make_application(Station(settings)),
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_FAREWELL_S,
            h11_max_incomplete_event_size=_LONGEST_HEAD,
            http="h11",
        )
        log.info("%s://%s:%d", settings.scheme, settings.host, held.getsockname()[1])
        uvicorn.Server(config).run([held])


def listening(settings: Settings) -> socket.socket:
    """The socket, before models are loaded for nothing. Raises UserError when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise UserError(f"{where} cannot be listened at ({error.strerror}); choose another --port or --host") from error
