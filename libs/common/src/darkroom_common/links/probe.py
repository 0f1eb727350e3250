"""`python -m darkroom_common.links.probe /readyz`: asks the service of this container how it is.

Exit code 0 is a 200. With `TLS_CA` it asks by https, and checks the certificate.
"""

import http.client
import os
import ssl
import sys
from typing import Final

from darkroom_common.output import complain

_SECONDS: Final = 4.0
_HOST: Final = "localhost"


def answers(path: str, port: int, ca: str | None) -> bool:
    """Return whether the answer is 200.

    Args:
        path: such as `/livez`.
        port: of health.
        ca: file with the authority of its certificate; None: it speaks no TLS.

    Raises:
        OSError: nobody answers, or with another certificate.
    """
    connection = (
        http.client.HTTPConnection(_HOST, port, timeout=_SECONDS)
        if ca is None
        else http.client.HTTPSConnection(
            _HOST, port, timeout=_SECONDS, context=ssl.create_default_context(cafile=ca)
        )
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


def main(arguments: list[str]) -> int:
    """Be the command; return the exit code."""
    port, ca = os.environ.get("DARKROOM_HEALTH_PORT", "9090"), os.environ.get("DARKROOM_TLS_CA")
    try:
        return 0 if answers(arguments[0], int(port), ca) else 1
    except (OSError, http.client.HTTPException) as error:
        complain(f"probe: {type(error).__name__}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
