"""One line of progress: a bar with a text on a terminal; elsewhere a line now and then."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class LiveLine:
    """A bar with a text behind it, on standard error.

    Args:
        shown: False for silence.
        done: the fraction that is behind us at the start.
        console: where to write; standard error by default.

    Attributes:
        live: whether there is a terminal to show it on.
    """

    def __init__(self, shown: bool, done: float = 0.0, console: Console | None = None) -> None:
        self._console, self._shown = console or Console(stderr=True), shown
        self.live = shown and self._console.is_terminal
        text = TextColumn("{task.percentage:3.0f}% {task.description}")
        self._bar = Progress(BarColumn(24), text, console=self._console, auto_refresh=False, disable=not self.live)
        self._row = self._bar.add_task("", total=1.0, completed=done)  # type: ignore[arg-type]
        self._bar.start()

    def show(self, text: str, done: float | None = None) -> None:
        """Replace the line on a terminal, or print one elsewhere.

        Args:
            text: behind the bar.
            done: the fraction that is behind us; as before by default.
        """
        if self.live:
            self._bar.update(self._row, completed=done, description=text)
            self._bar.refresh()
        else:
            self.say(text if done is None else f"{100 * done:3.0f}% {text}")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._shown:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()
