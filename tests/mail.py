"""A mail server that takes what comes by TLS, from whoever logs in, and keeps it."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message
    from pathlib import Path


@dataclass
class MailServer:
    """What has arrived."""

    port: int
    messages: list[Message] = field(default_factory=list)
    logins: set[str] = field(default_factory=set)

    def subjects(self) -> list[str]:
        """Return the subjects, the oldest first."""
        return [str(each["subject"]) for each in list(self.messages)]


@contextmanager
def receiving(host: str, certificate: Path) -> Iterator[MailServer]:
    """Run one, with a file that has its key and its certificate (RFC 5321, 3207, 4954)."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    class Handler(StreamRequestHandler):
        timeout = 30

        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())
            self.wfile.flush()

        def handle(self) -> None:
            secure: Any = None
            self.say("220 mail")
            while words := self.rfile.readline().decode().split():
                verb = words[0].upper()
                if verb == "QUIT":
                    self.say("221 bye")
                    return
                if verb == "EHLO":
                    self.say("250-mail")
                    self.say("250 AUTH PLAIN" if secure else "250 STARTTLS")
                elif verb == "STARTTLS":
                    self.say("220 go on")
                    secure = context.wrap_socket(self.connection, server_side=True)
                    self.rfile, self.wfile = secure.makefile("rb"), secure.makefile("wb")
                elif secure is None:
                    self.say("530 Must issue a STARTTLS command first")
                elif verb == "AUTH":
                    server.logins.add(words[2])
                    self.say("235 welcome")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    server.messages.append(message_from_bytes(b"".join(lines)))
                    self.say("250 taken")
                else:
                    self.say("250 well")

    class Listener(ThreadingTCPServer):
        daemon_threads = True

    with Listener((host, 0), Handler) as listener:
        server = MailServer(listener.server_address[1])
        thread = threading.Thread(target=listener.serve_forever, args=[0.1])
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
