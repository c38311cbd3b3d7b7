# SPDX-License-Identifier: Apache-2.0
"""A web server for tests: files of a folder, with ranges and entity tags, and faults on demand.

    GET /-fault?KIND&COUNT&WORD     the next COUNT requests for paths with WORD in them go wrong in this way:
        500, 404    that answer                       close    the connection is closed without an answer
        cut         half of the body, then closed     stall    half of the body, then nothing
        alter       a bit of the body is flipped      length   the file seems to be a byte longer
        norange     the whole file, whatever part was asked for
    GET /-seen                      what was asked for since the last time: a line "STATUS PATH" each
"""
import hashlib
import http.server
import os
import threading
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *args):
        pass

    def plain(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if code != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def order(self):
        s = self.server
        with s.lock:
            if self.path.startswith("/-fault?"):
                kind, count, word = self.path.split("?")[1].split("&")
                s.faults.append([kind, int(count), word])
                answer = b""
            elif self.path == "/-heal":
                s.faults.clear()
                answer = b""
            else:
                answer = "".join(line + "\n" for line in s.seen).encode()
                s.seen.clear()
        self.plain(200, answer)

    def fault(self, path):
        with self.server.lock:
            for f in self.server.faults:
                if f[1] > 0 and f[2] in path:
                    f[1] -= 1
                    return f[0]
        return None

    def note(self, code, path):
        with self.server.lock:
            self.server.seen.append(f"{code} {path}")

    def part(self, size, kind):
        """Of the body: first byte, byte behind the last; None: all of it."""
        text = self.headers.get("Range")
        if text is None or kind == "norange":
            return None
        first, last = text.removeprefix("bytes=").split("-")
        return int(first), min(int(last) + 1, size)

    def do_GET(self):
        if self.path.startswith("/-"):
            self.order()
            return
        path = urllib.parse.unquote_to_bytes(self.path).decode("utf-8", "surrogateescape")
        kind = self.fault(path)
        if kind == "close":
            self.note("closed", path)
            self.close_connection = True
            return
        try:
            with open(os.fsencode(self.server.folder) + os.fsencode(path), "rb") as f:
                data = f.read()
        except OSError:
            kind = "404"
        if kind in ("404", "500"):
            self.note(kind, path)
            self.plain(int(kind), b"no such luck\n")
            return
        self.body(path, data, kind)

    def body(self, path, data, kind):
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self.note(304, path)
            self.plain(304, ETag=etag)
            return
        part = self.part(len(data), kind)
        if part is not None and part[0] >= len(data):
            self.note(416, path)
            self.plain(416)
            return
        body = bytearray(data if part is None else data[part[0]:part[1]])
        self.note(200 if part is None else 206, path)
        if kind == "alter" and body:
            body[len(body) // 2] ^= 4
        self.send_response(200 if part is None else 206)
        self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        if part is not None:
            self.send_header("Content-Range", f"bytes {part[0]}-{part[1] - 1}/{len(data) + (kind == 'length')}")
        self.end_headers()
        if kind in ("cut", "stall"):
            self.wfile.write(body[:len(body) // 2])
            self.wfile.flush()
            if kind == "stall":
                self.connection.recv(1)  # until the client has had enough
            self.close_connection = True
            return
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.lock, self.faults, self.seen = folder, threading.Lock(), [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients go away as they like
