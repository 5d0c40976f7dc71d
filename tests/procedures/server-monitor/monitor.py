"""A small monitor: dashboard and API, WebSocket, agents and metrics, each on a port of its own."""
import base64, configparser, hashlib, http.server, json, os, pathlib, subprocess, sys, threading

HERE = pathlib.Path(__file__).resolve().parent
VERSION = (HERE / "VERSION").read_text().strip()


def token():
    """Up to 2.2 the configuration was a file of sections, since 2.3 it is an environment file."""
    if VERSION == "2.2":
        settings = configparser.ConfigParser()
        settings.read("/etc/monitor/monitor.ini")
        return settings["api"]["token"]
    lines = pathlib.Path("/etc/monitor/monitor.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["MONITOR_TOKEN"]


TOKEN = token()


def rows(table):
    query = f"select count(*) from {table}"
    answer = subprocess.run(["psql", "-XqAtc", query, "monitor"], capture_output=True, text=True)
    return int(answer.stdout) if answer.returncode == 0 else None


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in [("Content-Length", str(len(text))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"version": VERSION, "status": "ok"})
        if self.path == "/ws":
            key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
            self.send_response(101)
            for name, value in [("Upgrade", "websocket"), ("Connection", "Upgrade")]:
                self.send_header(name, value)
            self.send_header("Sec-WebSocket-Accept", accept)
            return self.end_headers()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "a token is needed"})
        if self.path == "/api/servers":
            return self.answer(200, {"users": rows("users"), "servers": rows("servers")})
        return self.answer(404, {"error": "there is no such page"})


servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 8581 + n), Pages) for n in range(4)]
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(f"monitor {VERSION} listens", file=sys.stderr)
servers[0].serve_forever()
