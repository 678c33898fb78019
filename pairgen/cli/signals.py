"""What Ctrl-C and SIGTERM do to a sitting."""

import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pairgen.cli.display import Display
    from pairgen.pipeline.sitting import Sitting


class Signals:
    """First Ctrl-C or SIGTERM: keep what is on its way and leave in order. Second: leave now."""

    def __init__(self, sitting: "Sitting", shown: "Display") -> None:
        self._sitting, self._shown = sitting, shown
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        from pairgen.cli import STOPPED
        from pairgen.errors import Stopped
        from pairgen.pipeline.run import Interrupted

        why = Interrupted(STOPPED) if number == signal.SIGINT else Stopped(STOPPED)
        if not self._sitting.stop(why):
            os._exit(why.exit_code)
        self._shown.stopping()
