"""The end of a process, announced: what must end in time begins to when SIGTERM comes.

uvicorn itself only tells the application after the last request, when most of the time is over.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import structlog

log = structlog.get_logger(__name__)


class Life:
    """Whether the process is about to end, and whom to tell."""

    def __init__(self) -> None:
        self.is_ending = False
        self._listeners: list[Callable[[], None]] = []

    def when_ending(self, do: Callable[[], None]) -> None:
        self._listeners.append(do)

    def begin_to_end(self) -> None:
        if self.is_ending:
            return
        self.is_ending = True
        log.info("process_ending")
        for do in self._listeners:
            do()


@contextmanager
def heeding_signals(life: Life, delay_seconds: float) -> Iterator[None]:
    """Hear of SIGTERM and SIGINT before the server does, where there is one that handles them.

    After SIGTERM it is told so many seconds later: until then it takes requests, and /health/ready
    says that no more are wanted. Another signal ends the wait.
    """
    of_server = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not callable(of_server[signal.SIGTERM]):
        yield
        return
    loop = asyncio.get_running_loop()
    is_told = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_told
        loop.call_soon_threadsafe(life.begin_to_end)
        if number == signal.SIGTERM and delay_seconds and not is_told:
            loop.call_soon_threadsafe(loop.call_later, delay_seconds, partial(tell, number, None))
        else:
            tell(number, frame)
        is_told = True

    def tell(number: int, frame: FrameType | None) -> None:
        if callable(handler := of_server[signal.Signals(number)]):
            handler(number, frame)

    for number in of_server:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in of_server.items():
            signal.signal(number, handler)
