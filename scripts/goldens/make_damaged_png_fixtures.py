"""Writes tests/data/images/damaged.json: which damaged PNGs Pillow reads, and to which pixels.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 numpy
    venv/bin/python scripts/goldens/make_damaged_png_fixtures.py tests/data/images

Each entry is a file of that folder, "cut" to so many bytes, with "flip"ped bytes (xor 1) and "more" (hexadecimal)
behind, and "read": does Pillow read it (then to the pixels of the whole file)? "cuts": of every length that the file
can be cut to, those that it reads, as ranges with both ends inclusive.
"""

import io
import json
import struct
import sys
import zlib
from pathlib import Path

from PIL import Image

FILES = ["rgb8.png", "rgb8_interlaced.png", "grey1.png", "grey16.png", "palette2_alpha.png", "orientation6.png", "orientation8_behind.png"]


def chunks(data):
    at = 8
    while at + 8 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        yield data[at + 4 : at + 8], at, size
        at += 12 + size


def pixels(data):
    try:
        return Image.open(io.BytesIO(data)).convert("RGB").tobytes()
    except (OSError, SyntaxError, ValueError, struct.error):
        return None


def apply(data, entry):
    data = bytearray(data[: entry.get("cut", len(data))])
    for at in entry.get("flip", []):
        data[at] ^= 1
    return bytes(data) + bytes.fromhex(entry.get("more", ""))


def entries(name, data):
    found = list(chunks(data))
    end = found[-1][1]
    # Of chunks ahead of the pixels Pillow wants good check sums; libpng does without those that are not critical.
    for kind, at, size in found:
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf") and not (kind == b"eXIf" and name == "orientation6.png"):
            yield {"flip": [at + 8 + size]}
    last = [(at, size) for kind, at, size in found if kind == b"IDAT"][-1]
    yield {"flip": [last[0] + 8 + last[1] - 1]}  # the deflate stream's own check sum
    yield {"flip": [last[0] + 8 + last[1] // 2]}  # and the stream
    good = zlib.crc32(b"tEXta")
    for more in (b"garbage" * 9, bytes(40), b"", b"\0", struct.pack(">I", 1000) + b"tEXtabc", struct.pack(">I", 1000) + b"eXIfabc",
                 struct.pack(">I", 1) + b"tEXta" + struct.pack(">I", good), struct.pack(">I", 1) + b"tEXta" + struct.pack(">I", good ^ 1)):  # fmt: skip
        yield {"cut": end, "more": more.hex()}
    yield {"more": (b"garbage" * 9).hex()}


def main():
    folder = Path(sys.argv[1])
    out = []
    for name in FILES:
        data = (folder / name).read_bytes()
        whole = pixels(data)
        for entry in entries(name, data):
            got = pixels(apply(data, entry))
            assert got in (None, whole), (name, entry)
            out.append({"file": name, **entry, "read": got is not None})
        ranges = []
        for length in range(len(data) + 1):
            got = pixels(data[:length])
            assert got in (None, whole), (name, length)
            if got is None:
                continue
            if ranges and ranges[-1][1] == length - 1:
                ranges[-1][1] = length
            else:
                ranges.append([length, length])
        out.append({"file": name, "cuts": ranges})
    (folder / "damaged.json").write_text("[\n" + ",\n".join(json.dumps(e) for e in out) + "\n]\n")


main()
