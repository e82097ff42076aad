"""The message that the endpoint runs: its address, a generated key, and a `curl` command to try."""

from __future__ import annotations

import json

from pipelines.run.cluster import metrics_addresses
from pipelines.run.screen import Screen
from serve.spec import ServeSpec

# The document of the `curl` command, and its task if the serve file has none.
_TEXT = "Report.\\nauditor: Smith Sons"
_TASK = '{"name": "auditor", "kind": "ask", "question": "What is the auditor?"}'


def announce(spec: ServeSpec, key: str | None, screen: Screen, *, as_json: bool) -> None:
    """Print that the endpoint runs: its URL, the URLs of its metrics, its key and a `curl` command.

    Called once, when requests are answered. `key` is the generated API key, None if keys are read
    from a file. Prints to the console of `screen` (standard error); with `as_json`, prints only one
    JSON object `{url, key, model, metrics}` to the results of `screen` (standard output).
    """
    url = spec.http.url
    if as_json:
        result = {
            "url": url,
            "key": key,
            "model": spec.model.name,
            "metrics": metrics_addresses(),
        }
        print(json.dumps(result), file=screen.results, flush=True)
        return
    console = screen.console
    ready = f"{spec.model.name} answers at {url}; open it in a browser for a page to try it"
    console.print(ready, style="bold", soft_wrap=True)
    for address in metrics_addresses():
        console.print(f"Prometheus metrics: {address}", soft_wrap=True)
    if key:
        console.print(f"API key, shown only once: {key}", style="bold", soft_wrap=True)
    task = f'"{spec.tasks[0].name}"' if spec.tasks else _TASK
    console.print(
        f"""
curl {url}/v1/documents \\
  -H 'Authorization: Bearer {key or "YOUR_KEY"}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"text": "{_TEXT}", "tasks": [{task}]}}'
""",
        soft_wrap=True,
    )
