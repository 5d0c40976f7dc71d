"""One of the daemons: it reads its table all the time, and does not start on a schema it does not know.

daemon.py web|dispatcher|events. Each start and each end is a line in /var/log/synnefo/order.
"""
import http.server
import os
import signal
import socket
import sys
import threading

import psycopg

NAME = sys.argv[1]
PART, TABLE = {
    "web": ("ACCOUNTS", "accounts_user"),
    "dispatcher": ("COMPUTE", "compute_server"),
    "events": ("STORAGE", "objects"),
}[NAME]
with open("/usr/share/synnefo/version") as file:
    VERSION = file.read().strip()
NEW = {"accounts_user": "quota", "compute_server": "flavor", "objects": "size"}


def note(word):
    with open("/var/log/synnefo/order", "a") as log:
        log.write(f"{word} {NAME}\n")


url = os.environ.get(PART + "_URL")
if url is None:
    sys.exit("not configured")
connection = psycopg.connect(url, autocommit=True)
columns = "name" if VERSION.startswith("1.") else "name, " + NEW[TABLE]
connection.execute(f"select {columns} from {TABLE} limit 1")
end = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: end.set())
note("started")


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        count = connection.execute(f"select count(*) from {TABLE}").fetchone()[0]
        body = f'{{"version": "{VERSION}", "rows": {count}}}\n'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def ready():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


if NAME == "web":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
ready()
while not end.wait(0.5):
    connection.execute(f"select count(*) from {TABLE}")
note("stopped")
