"""Serves Data Docs and dbt's documentation out of the home, and nothing else that stands there.

Belongs here: two folders as web pages, with the standard library alone (20 MB, where the tickmart command takes 150).
Does not: making them (`orchestration/quality/docs.py`, `tickmart docs`).

    pages.py HOME PORT
"""

import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDERS = {"data_docs": "Data Docs: the checks of each run", "docs": "dbt docs: the warehouse and its lineage"}


class Pages(SimpleHTTPRequestHandler):
    """Files below the named folders; a list of the folders at the top."""

    def send_head(self):
        """Answer 404 for whatever is not one of ours, before anything looks at it."""
        home = Path(self.directory).resolve()
        wanted = Path(self.translate_path(self.path)).resolve()
        if wanted == home:
            self._index(home)
            return None
        if not any(wanted.is_relative_to(home / folder) for folder in FOLDERS):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path):
        """A folder without a page has none."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_):
        """Say nothing of each request."""

    def _index(self, home):
        lines = [
            f'<li><a href="{folder}/">{text}</a></li>' if (home / folder / "index.html").exists() else
            f"<li>{text} (not made yet)</li>"
            for folder, text in FOLDERS.items()
        ]  # fmt: skip
        body = f'<!DOCTYPE html><meta charset="utf-8"><title>tickmart</title><ul>{"".join(lines)}</ul>'.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    home, port = sys.argv[1:]
    ThreadingHTTPServer(("", int(port)), partial(Pages, directory=home)).serve_forever()
