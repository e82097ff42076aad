"""The screen of a run in a Jupyter notebook.

rich shows a live view in a notebook only with ipywidgets; this one needs nothing but IPython, which
every kernel has.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType

from pipelines.run.screen import Screen

_REFRESH_SECONDS = 1.0
_COLUMNS = 100
_HTML = '<pre style="line-height: normal; font-family: monospace">{code}</pre>'
_KERNEL = "ZMQInteractiveShell"


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    # Colab and Databricks have subclasses of the kernel's shell
    return any(kind.__name__ == _KERNEL for kind in type(shell).__mro__)


def notebook_console() -> Console:
    """Return a console that prints to the notebook's current cell."""
    return Console(
        force_jupyter=True,
        force_interactive=True,
        width=_COLUMNS,
        highlight=False,
        markup=False,
        emoji=False,
    )


@dataclass(frozen=True)
class NotebookScreen(Screen):
    """A screen whose live views are outputs of a notebook's cell that are updated every second."""

    @contextmanager
    def live_view(self, render: Callable[[], RenderableType]) -> Iterator[None]:
        """Show what `render` returns during the block. It stays, with its last content."""
        from IPython.display import display

        shown = display(as_output(render()), raw=True, display_id=True)
        ended = threading.Event()

        def refresh() -> None:
            while not ended.wait(_REFRESH_SECONDS):
                shown.update(as_output(render()), raw=True)

        thread = threading.Thread(target=refresh, name="notebook", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            shown.update(as_output(render()), raw=True)


def as_output(renderable: RenderableType) -> dict[str, Any]:
    """Return a renderable as a notebook's output: HTML and plain text, by media type."""
    console = Console(record=True, file=io.StringIO(), width=_COLUMNS, force_terminal=True)
    console.print(renderable)
    html = console.export_html(inline_styles=True, code_format=_HTML, clear=False)
    return {"text/html": html, "text/plain": console.export_text()}
