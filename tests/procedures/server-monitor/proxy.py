"""What stands before the instances: asks one of those in /srv/monitor/upstreams, and where it gives no answer the next.

Read anew for each request, as a proxy does that was told to reload: ports, one after the other.
"""
import http.server, itertools, pathlib, urllib.error, urllib.request

turn = itertools.count()


def ask(port, path, headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Proxy(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        ports = pathlib.Path("/srv/monitor/upstreams").read_text().split()
        first = next(turn) % len(ports)
        headers = {"X-Forwarded-For": self.client_address[0]}
        if "Authorization" in self.headers:
            headers["Authorization"] = self.headers["Authorization"]
        status, body = 502, b"nobody answers"
        for port in ports[first:] + ports[:first]:
            try:
                status, body = ask(port, self.path, headers)
                break
            except OSError:
                continue
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", 8600), Proxy).serve_forever()
