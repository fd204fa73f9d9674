"""A client of 9P2000.L, as far as a test needs it: the files of a server, by paths, without a mount.

    tree = Nine(socket, "/proc9")
    tree.write("ctl", b"efork job")
    tree.read("job/status")

What the server refuses is an OSError with the errno that it told. Links are not followed: that is the client's part in 9P.
"""
import os
import struct

LERROR, LOPEN, SYMLINK, READLINK, VERSION, ATTACH, WALK, READ, WRITE, CLUNK = 6, 12, 16, 22, 100, 104, 110, 116, 118, 120
NO_TAG, NO_FID = 0xffff, 0xffffffff
ROOT, FILE = 0, 1


def text(word):
    return struct.pack("<H", len(word.encode())) + word.encode()


class Nine:
    def __init__(self, connection, name):
        self.connection = connection
        self.ask(VERSION, struct.pack("<I", 65536) + text("9P2000.L"), NO_TAG)
        self.ask(ATTACH, struct.pack("<II", ROOT, NO_FID) + text("root") + text(name) + struct.pack("<I", os.getuid()))

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.connection.recv(count - len(data))
            assert piece, "the server has closed the connection"
            data += piece
        return data

    def ask(self, kind, body, tag=1):
        self.connection.sendall(struct.pack("<IBH", 7 + len(body), kind, tag) + body)
        length, answer, _ = struct.unpack("<IBH", self.receive(7))
        body = self.receive(length - 7)
        if answer == LERROR + 1:
            number, = struct.unpack("<I", body)
            raise OSError(number, os.strerror(number))
        assert answer == kind + 1, answer
        return body

    def walk(self, path):
        """The number of a file there is in use until clunk()."""
        names = [name for name in path.split("/") if name]
        found = self.ask(WALK, struct.pack("<IIH", ROOT, FILE, len(names)) + b"".join(map(text, names)))
        if struct.unpack_from("<H", found)[0] != len(names):
            raise FileNotFoundError(path)

    def clunk(self):
        self.ask(CLUNK, struct.pack("<I", FILE))

    def with_file(self, path, flags, action):
        self.walk(path)
        try:
            if flags is not None:
                self.ask(LOPEN, struct.pack("<II", FILE, flags))
            return action()
        finally:
            self.clunk()

    def read(self, path):
        def whole():
            data = b""
            while piece := self.ask(READ, struct.pack("<IQI", FILE, len(data), 8192))[4:]:
                data += piece
            return data.decode()
        return self.with_file(path, os.O_RDONLY, whole)

    def write(self, path, data):
        return self.with_file(path, os.O_WRONLY, lambda: struct.unpack("<I", self.ask(
            WRITE, struct.pack("<IQI", FILE, 0, len(data)) + data))[0])

    def readlink(self, path):
        return self.with_file(path, None, lambda: self.ask(READLINK, struct.pack("<I", FILE))[2:].decode())

    def symlink(self, target, directory, name):
        self.with_file(directory, None, lambda: self.ask(
            SYMLINK, struct.pack("<I", FILE) + text(name) + text(target) + struct.pack("<I", 0)))
