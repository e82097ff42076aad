"""A fake Hugging Face hub: the HTTP routes that huggingface_hub requests for one small model."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PHI3_128K = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "original_max_position_embeddings": 4096,
    "rope_scaling": {"type": "longrope"},
    "sliding_window": 262144,
    "vocab_size": 32064,
}


class Hub(BaseHTTPRequestHandler):
    """A Hugging Face hub with one model, `team/phi`, whose branch `main` is at COMMIT."""

    files = {  # noqa: RUF012  # never changed
        "config.json": json.dumps(PHI3_128K).encode(),
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"the same weights again",
    }

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        prefix = f"/team/phi/resolve/{COMMIT}/"
        if path in (f"/api/models/team/phi/revision/{name}" for name in ("main", COMMIT)):
            self.answer(json.dumps({"id": "team/phi", "sha": COMMIT, "siblings": []}).encode())
        elif path == f"/api/models/team/phi/tree/{COMMIT}":
            self.answer(json.dumps([self.entry(name) for name in self.files]).encode())
        elif path.startswith(prefix) and path.removeprefix(prefix) in self.files:
            self.answer(self.files[path.removeprefix(prefix)])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def entry(self, name: str) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(self.files[name]), "oid": name}

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{abs(hash(body))}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass
