"""Serves Data Docs and the dbt documentation, and no other file of TICKMART_HOME.

Belongs here: serving two folders with the standard library only (20 MB of memory; the tickmart command needs 150). Does
not: building the pages (`orchestration/quality/data_docs.py`, `tickmart docs`).

    pages.py HOME PORT
"""

import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDERS = {"data_docs": "Data Docs: the checks of each run", "docs": "dbt docs: the warehouse and its lineage"}


class Pages(SimpleHTTPRequestHandler):
    """Serves the files below FOLDERS, and an index of them."""

    def send_head(self):
        """Respond with 404 to a path outside FOLDERS before the file system is read."""
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
        """Respond with 404 to a folder without an index page."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_):
        """Log no requests."""

    def _index(self, home):
        lines = [
            f'<li><a href="{folder}/">{text}</a></li>' if (home / folder / "index.html").exists() else
            f"<li>{text} (not built yet)</li>"
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
