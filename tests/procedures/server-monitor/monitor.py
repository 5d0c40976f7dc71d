"""A small monitor: dashboard and API, agents and metrics, each on a port of its own.

`--live` is the service for WebSockets instead, for a machine that cannot run live.js.
"""
import base64, configparser, hashlib, http.server, json, os, pathlib, sqlite3, sys, threading

HERE = pathlib.Path(__file__).resolve().parent
VERSION = (HERE / "VERSION").read_text().strip()
TOKEN = os.environ["MONITOR_TOKEN"]
# A release that starts and does not work, for the test of the smoke checks.
BROKEN = (HERE / "broken-at-run-time").exists()
# One that works until a proxy stands before it.
BROKEN_BEHIND_PROXY = (HERE / "broken-behind-proxy").exists()


def site():
    """Up to 2.2 the configuration was a file of sections, since 2.3 it is an environment file."""
    if VERSION == "2.2":
        settings = configparser.ConfigParser()
        settings.read("/etc/monitor/monitor.ini")
        return settings["web"]["site"]
    lines = pathlib.Path("/etc/monitor/monitor.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["MONITOR_SITE"]


SITE = site()


def rows(table):
    connection = sqlite3.connect("file:/srv/monitor/data/monitor.db?mode=ro", uri=True)
    try:
        return connection.execute(f"select count(*) from {table}").fetchone()[0]
    finally:
        connection.close()


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def websocket(self):
        key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        for name, value in [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]:
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True

    def do_GET(self):
        if self.path == "/health":
            lost = BROKEN_BEHIND_PROXY and "X-Forwarded-For" in self.headers
            return self.answer(200, {"version": "unknown" if lost else VERSION, "site": SITE})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "a token is needed"})
        if self.path == "/live":
            return self.websocket()
        if self.path == "/api/counts":
            if BROKEN:
                return self.answer(500, {"error": "no such column"})
            return self.answer(200, {"users": rows("users"), "servers": rows("servers")})
        if self.path == "/":
            return self.answer(200, {"dashboard": SITE})
        return self.answer(404, {"error": "there is no such page"})


ports = [8582] if "--live" in sys.argv else [8581, 8583, 8584]
if "--port" in sys.argv:
    ports = [int(sys.argv[sys.argv.index("--port") + 1])]
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Pages) for port in ports]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"monitor {VERSION} listens", file=sys.stderr)
servers[0].serve_forever()
