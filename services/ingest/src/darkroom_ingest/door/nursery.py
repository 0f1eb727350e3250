"""Where receiving processes come from: forks of a process that has imported all that they need.

It is itself a fork of the main process, made before that has a thread, a loop or a connection: all
of them share the pages of what was imported. When it is killed, so are its children, and the
service ends: whoever runs the service starts it again.
"""

import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from darkroom_common.siblings import die_with
from darkroom_common.workers.faults import WorkerGone
from darkroom_common.workers.forking import fork_until_over
from darkroom_common.workers.forks import Child, ask_for_child
from darkroom_ingest.door import worker
from darkroom_ingest.door.worker import Inherited
from darkroom_ingest.settings import IngestSettings

RECEIVING: Final = "ingest-receive"
"""What the kernel calls a receiving process, as `ps -o comm` shows it."""
_NURSERY: Final = "ingest-forks"
_BEHIND: Final = 5
"""How far the relay stands back behind receiving."""


class Nursery:
    """The main process's end; `open` it before there is any thread."""

    _control: socket.socket
    _pid: int

    def open(self, settings: IngestSettings) -> None:
        """Fork the process that forks; what this one does itself, such as relaying, stands back."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.collect()
        gc.freeze()  # what was imported stays shared
        sys.stdout.flush()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                self._control.close()
                _call_it(_NURSERY)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)  # the main process says when
                die_with(parent)
                _fork(theirs, settings)
                code = 0
            finally:
                sys.stdout.flush()
                os._exit(code)
        theirs.close()
        os.nice(_BEHIND)

    async def fork(self, inherited: Inherited) -> Child:
        """Return a new receiving process.

        Raises:
            WorkerGone: there is no room for it, or what forks was killed.
        """
        said = inherited.said().encode()
        child = await ask_for_child(self._control, said, inherited.files())
        if child is None:
            raise WorkerGone("the process that forks receiving processes has ended")
        return child

    def close(self) -> None:
        """End it, and with it what it has forked."""
        self._control.close()
        os.waitpid(self._pid, 0)


def _fork(control: socket.socket, settings: IngestSettings) -> None:
    """Fork when asked; return in a child after all that it has to do."""
    parent = os.getpid()
    born = fork_until_over(control)
    control.close()
    if born is None:
        return
    die_with(parent)
    _call_it(RECEIVING)
    worker.run(Inherited.of(born.said.decode(), born.files), settings)


def _call_it(name: str) -> None:
    Path("/proc/self/comm").write_text(name)
