"""A stand-in for wandb's server on this machine, and a login for it."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any

import pytest


def log_in(monkeypatch: pytest.MonkeyPatch, url: str = "http://127.0.0.1:9") -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", url)


class FakeServer(BaseHTTPRequestHandler):
    """As much of a wandb server as starting, feeding and finishing a run takes, and saving a workspace."""

    protocol_version = "HTTP/1.1"
    requests: list[tuple[str, dict[str, Any]]]
    silent = False  # takes requests of the API and never answers

    @classmethod
    def history(cls, run_id: str) -> dict[int, dict[str, Any]]:
        """The rows that a run has, by their number."""
        rows = {}
        for path, body in cls.requests:
            if f"/{run_id}/file_stream" in path and "wandb-history.jsonl" in body.get("files", {}):
                chunk = body["files"]["wandb-history.jsonl"]
                rows |= {chunk["offset"] + at: json.loads(line) for at, line in enumerate(chunk["content"])}
        return rows

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append((self.path, body))
        if self.silent:
            Event().wait()
        variables = body.get("variables", {})
        answer: dict[str, Any] = {}
        if "upsertBucket" in body.get("query", ""):
            project = {"id": "p", "name": "project", "entity": {"id": "e", "name": "someone"}}
            bucket = {"id": "b", "name": variables["name"], "displayName": "x", "config": "{}", "project": project}
            lines = len(self.history(variables["name"]))
            answer = {"upsertBucket": {"bucket": {**bucket, "historyLineCount": lines}, "inserted": not lines}}
        elif "createRunFiles" in body.get("query", ""):
            url = f"http://{self.headers['Host']}/upload/"
            files = [{"name": name, "uploadUrl": url + name} for name in variables["files"]]
            answer = {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        elif "viewer" in body.get("query", ""):
            answer = {"viewer": {"id": "u", "entity": "someone", "username": "someone", "teams": {"edges": []}}}
        elif "upsertView" in body.get("query", ""):
            answer = {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}
        self.reply({"data": answer} if self.path == "/graphql" else {"exitcode": None, "limits": {}})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.reply({})

    def reply(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


class QuietServer(ThreadingHTTPServer):
    """Counts its connections; says nothing about clients that hang up."""

    daemon_threads = True
    connections = 0

    def verify_request(self, *_: Any) -> bool:
        """Count, and let everybody in."""
        self.connections += 1
        return True

    def handle_error(self, *_: Any) -> None:
        """Keep quiet."""
