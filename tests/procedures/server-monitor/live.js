// The service for WebSockets of the monitor, in Node without a module of others: the handshake of RFC 6455.
const { createHash } = require("crypto");
const { readFileSync } = require("fs");
const { createServer } = require("http");

const version = readFileSync(`${__dirname}/VERSION`, "utf8").trim();
const server = createServer((_, answer) => answer.end(JSON.stringify({ version })));
server.on("upgrade", (request, socket) => {
  if (request.headers.authorization !== `Bearer ${process.env.MONITOR_TOKEN}`) {
    return socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
  }
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(key).digest("base64");
  socket.on("error", () => {});
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
});
server.listen(8582, "127.0.0.1", () => console.error(`monitor ${version} talks, in Node ${process.version}`));
