"""A mail server that takes what comes by TLS, from whoever logs in, and keeps it."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING

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


class Listener(ThreadingTCPServer):
    """Listens, with the key and the certificate of a file."""

    daemon_threads = True

    def __init__(self, host: str, certificate: Path) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate)
        super().__init__((host, 0), Handler)
        self.kept = MailServer(self.server_address[1])


class Handler(StreamRequestHandler):
    """One connection (RFC 5321, 3207, 4954)."""

    timeout = 30
    server: Listener
    secure: ssl.SSLSocket | None = None

    def say(self, line: str) -> None:
        """Answer."""
        self.wfile.write(f"{line}\r\n".encode())
        self.wfile.flush()

    def handle(self) -> None:
        """Answer each command."""
        self.say("220 mail")
        while words := self.rfile.readline().decode().split():
            verb = words[0].upper()
            if verb == "QUIT":
                self.say("221 bye")
                return
            if verb == "EHLO":
                self.say("250-mail")
                self.say("250 AUTH PLAIN" if self.secure else "250 STARTTLS")
            elif verb == "STARTTLS":
                self.say("220 go on")
                self.secure = self.server.context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.secure.makefile("rb"), self.secure.makefile("wb")
            elif self.secure is None:
                self.say("530 Must issue a STARTTLS command first")
            else:
                self.take(verb, words)

    def take(self, verb: str, words: list[str]) -> None:
        """Answer what comes by TLS alone."""
        if verb == "AUTH":
            self.server.kept.logins.add(words[2])
            self.say("235 welcome")
        elif verb == "DATA":
            self.say("354 go on")
            lines = iter(self.rfile.readline, b".\r\n")
            self.server.kept.messages.append(message_from_bytes(b"".join(lines)))
            self.say("250 taken")
        else:
            self.say("250 well")

    def finish(self) -> None:
        """Close what STARTTLS made, too: the server closes what that was made of."""
        super().finish()
        if self.secure is not None:
            self.secure.close()


@contextmanager
def receiving(host: str, certificate: Path) -> Iterator[MailServer]:
    """Run one, with a file that has its key and its certificate."""
    with Listener(host, certificate) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=[0.1])
        thread.start()
        try:
            yield listener.kept
        finally:
            listener.shutdown()
            thread.join()
