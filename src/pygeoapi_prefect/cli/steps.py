"""Progress of long commands: on a terminal a line that changes, elsewhere plain lines."""

import sys
import time
from types import TracebackType
from typing import Self

import click


class Step:
    """
    One step of a long command, as a context manager.

    Args:
        text: What is being done.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._started = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        click.echo(f"{self._text} …", err=True, nl=not self._is_terminal)
        return self

    def tick(self) -> None:
        """Show that the step goes on."""
        if self._is_terminal:
            click.echo(f"\r{self._text} … {time.monotonic() - self._started:.0f} s", err=True, nl=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal:
            seconds = time.monotonic() - self._started
            click.echo(f"\r{self._text} … {'done' if error is None else 'failed'} ({seconds:.1f} s)", err=True)
