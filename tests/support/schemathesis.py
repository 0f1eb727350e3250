"""Runs schemathesis over the OpenAPI document of a running api, signed in as its administrator."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_CONFIGURATION: Final = f"""\
hooks = {str(_HERE / "schemathesis_hooks.py")!r}
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "414", "415",
  "422", "426", "428", "429", "431", "5xx"]
[checks.positive_data_acceptance]
enabled = false # a schema cannot say that a name must exist, a cursor be of a list, a date to come
[[operations]] # what is asked of another DICOM node that nobody has set up, or that does not answer
include-path-regex = "^/api/v1/(remote/.+|worklist/query|destinations/.+/echo|printers/.+/status)$"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "502", "504"]
"""
_DOCUMENT_SECONDS: Final = 120
"""For the document: each of the processes of the api makes its own when it is asked first."""
LIFTED: Final = {
    f"DARKROOM_LIMIT_{name}": "100000000/hour"
    for name in ("DEFAULT", "LOGIN", "EXPORTS", "BULK", "ANONYMOUS")
}
"""Settings of the api without which a fuzzer meets its limits at once."""


@dataclass(frozen=True)
class Fuzzing:
    """What to fuzz: the address of an api, and its administrator."""

    url: str
    username: str
    password: str

    async def run(self, directory: Path, *options: str) -> tuple[int, str]:
        """Run it; return its exit code and what it says.

        Args:
            directory: for its configuration.
            options: of `schemathesis run`.
        """
        configuration = directory / "schemathesis.toml"
        configuration.write_text(_CONFIGURATION)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file",
            str(configuration),
            "--no-color",
            "run",
            f"{self.url}/openapi.json",
            "--continue-on-failure",
            "--exclude-path",
            "/api/v1/events",  # it does not end
            "--no-shrink",
            "--wait-for-schema",
            str(_DOCUMENT_SECONDS),
            *options,
            cwd=directory,
            env={
                **os.environ,
                "PYTHONPATH": str(_HERE.parent.parent),
                "DARKROOM_FUZZ_URL": self.url,
                "DARKROOM_FUZZ_USER": self.username,
                "DARKROOM_FUZZ_PASSWORD": self.password,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode(errors="replace")
