"""A fake Hugging Face hub: the HTTP routes that huggingface_hub's filesystem requests for one data
set, `team/corpus`, with the files of a directory."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = "/api/datasets/team/corpus"


@contextmanager
def dataset_hub(root: Path) -> Iterator[str]:
    """Run a hub with the files below `root` during the block; yields its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(DatasetHub, root=root))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class DatasetHub(BaseHTTPRequestHandler):
    """Answers requests about the data set."""

    def __init__(self, *arguments: object, root: Path) -> None:
        self.root = root
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        if path in (_API, *(f"{_API}/revision/{name}" for name in ("main", COMMIT))):
            self.answer(json.dumps({"id": "team/corpus", "sha": COMMIT, "siblings": []}).encode())
        elif path.startswith(f"{_API}/tree/"):
            below = path.removeprefix(f"{_API}/tree/").partition("/")[2]
            deep = parse_qs(url.query).get("recursive") == ["True"]
            self.tree(below, deep=deep or "recursive=true" in url.query)
        elif path.startswith("/datasets/team/corpus/resolve/"):
            name = path.removeprefix("/datasets/team/corpus/resolve/").partition("/")[2]
            file = self.root / name
            self.answer(file.read_bytes()) if file.is_file() else self.missing()
        else:
            self.missing()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        try:
            paths = json.loads(body)["paths"]
        except ValueError:
            paths = parse_qs(body)["paths"]
        found = [self.root / path for path in paths if (self.root / path).exists()]
        self.answer(json.dumps([self.entry(path) for path in found]).encode())

    def tree(self, below: str, *, deep: bool) -> None:
        directory = self.root / below
        if not directory.is_dir():
            self.missing("EntryNotFound")
            return
        paths = sorted(directory.rglob("*") if deep else directory.iterdir())
        self.answer(json.dumps([self.entry(path) for path in paths]).encode())

    def entry(self, path: Path) -> dict[str, object]:
        name = path.relative_to(self.root).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "directory"}
        oid = hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324  # as git names it
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": oid}

    def missing(self, code: str = "RepoNotFound") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body: bytes) -> None:
        ranged = self.headers.get("Range")
        if ranged:
            start, _, end = ranged.removeprefix("bytes=").partition("-")
            body = body[int(start) : int(end) + 1 if end else None]
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass
