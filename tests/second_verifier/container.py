"""The files of a bundle, as a zip or unpacked in a folder."""

import os, re, zipfile

from finding import Finding

MAXIMUM_FILES = 1_000_000
MAXIMUM_BYTES = 4 << 30


def open_bundle(path):
    return Folder(path) if os.path.isdir(path) else Zip(path)


class Folder:
    def __init__(self, path):
        self.path = path
        self.names = [os.path.relpath(os.path.join(folder, name), path)
                      for folder, _, names in os.walk(path) for name in names]
        need_safe(self.names, sum(os.path.getsize(os.path.join(path, name)) for name in self.names))
        self.names = frozenset(self.names)

    def read(self, name):
        with open(os.path.join(self.path, name), "rb") as file:
            return file.read()


class Zip:
    def __init__(self, path):
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise Finding("malformed", "The bundle is no zip file.") from None
        members = [member for member in self.zip.infolist() if not member.is_dir()]
        self.path, self.members = path, {member.filename: member for member in members}
        self.names = [member.filename for member in members]
        need_safe(self.names, sum(member.file_size for member in members))
        self.names = frozenset(self.names)

    def read(self, name):
        """What is not packed is read past its checksum: bundle.json has a better one."""
        member = self.members[name]
        try:
            if member.compress_type != zipfile.ZIP_STORED:
                return self.zip.read(name)
            with open(self.path, "rb") as file:
                file.seek(member.header_offset + 26)
                name_length, extra_length = int.from_bytes(file.read(2), "little"), int.from_bytes(file.read(2), "little")
                file.seek(name_length + extra_length, 1)
                return file.read(member.file_size)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
            raise Finding("malformed", f"{name} in the bundle cannot be unpacked.") from None


def need_safe(names, size):
    unsafe = [name for name in names if {"", ".", ".."} & set(name.split("/")) or re.search(r"[\\:\x00-\x1f]", name)]
    if unsafe or len(set(names)) != len(names) or len(names) > MAXIMUM_FILES or size > MAXIMUM_BYTES:
        raise Finding("malformed", "The bundle is too large, or has a path twice, absolute or upwards.")
