import errno
import socket

from devserver.errors import LauncherError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the port, or on a free one where it is taken."""
    try:
        return _listen(host, port)
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
    return _listen(host, 0)


def require_free(host: str, port: int) -> None:
    """Say so where nobody could listen on this port."""
    try:
        _listen(host, port).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise LauncherError(f"Cannot listen on {host}, port {port}: {error}") from None
        raise LauncherError(
            f"Port {port} of {host} is taken. Stop what uses it, or choose another one: "
            f"PORT={port + 10} make run"
        ) from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
