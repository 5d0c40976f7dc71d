"""What a person tries after an upgrade: the API with the token and without, and a WebSocket."""
import base64, hashlib, os, pathlib, socket, sys, urllib.error, urllib.request

BASE = "http://127.0.0.1:8581"
token = pathlib.Path("/etc/monitor/secrets.env-token").read_text().strip()


def get(path, **headers):
    return urllib.request.urlopen(urllib.request.Request(BASE + path, headers=headers), timeout=10)


body = get("/api/counts", Authorization=f"Bearer {token}").read().decode()
if "null" in body:
    sys.exit(f"the API has no rows: {body}")
try:
    get("/api/counts")
    sys.exit("the API answers without a token")
except urllib.error.HTTPError as refused:
    if refused.code != 401:
        sys.exit(f"the API without a token says {refused.code}")
key = base64.b64encode(os.urandom(16))
with socket.create_connection(("127.0.0.1", 8582), timeout=10) as connection:
    connection.sendall(
        b"GET /live HTTP/1.1\r\nHost: monitor\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Authorization: Bearer " + token.encode() + b"\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            sys.exit("the WebSocket broke off")
        head += part
guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
accept = base64.b64encode(hashlib.sha1(key + guid).digest())
if not head.startswith(b"HTTP/1.1 101 ") or accept not in head:
    sys.exit(f"no WebSocket: {head!r}")
