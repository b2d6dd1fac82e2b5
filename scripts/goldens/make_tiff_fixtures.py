"""Writes tests/data/tiff: small TIFFs in many forms, and what Pillow makes of them; tests/data/labels: masks.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 numpy tifffile imagecodecs
    venv/bin/python scripts/goldens/make_tiff_fixtures.py tests/data/tiff tests/data/labels fuzz/corpus/tiff

expected.json has for each picture its size and the SHA-256 of the RGB bytes: as stored, and upright (Pillow always
turns a TIFF). Pillow clips 16-bit grey and does not turn it round where white is zero: there the expectation is
numpy's, as for the other ways from 16 bits to 8. "error": a word of the sentence that says what a file is.
labels/expected.json has the SHA-256 of each mask's values as little-endian 32-bit numbers.
"""

import hashlib
import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import tifffile
from make_image_fixtures import COLUMNS, ROWS, picture, png
from PIL import Image, ImageOps

FUZZ_SEEDS = [
    "grey1_white.tif", "grey8_lzw.tif", "grey16_big_endian.tif", "palette4.tif", "palette8_tiled.tif", "rgb8_planes.tif",
    "rgb16_planes_tiled_deflate.tif", "rgba8_multiplied.tif", "bigtiff_big_endian.tif", "ycbcr_jpeg.tif", "ycbcr_lzw.tif",
    "rgb8_packbits.tif", "bilevel_group4.tif", "pages.tif", "float32.tif", "int64.tif",
]  # fmt: skip


class Writer:
    """Uncompressed TIFFs by hand: any tag, any order of bytes, several pages."""

    def __init__(self, big_endian=False, big=False):
        self.order, self.big = ">" if big_endian else "<", big
        self.data = b"MM" if big_endian else b"II"
        self.data += struct.pack(self.order + ("HHH" if big else "H"), *((43, 8, 0) if big else (42,)))
        self.link = len(self.data)
        self.data += b"\0" * (8 if big else 4)

    def put(self, data):
        at = len(self.data)
        self.data += data + b"\0" * (len(data) % 2)
        return at

    def page(self, strips, tags, loop=False):
        offset = "Q" if self.big else "I"
        kind = 16 if self.big else 4
        places = [self.put(strip) for strip in strips]
        tags = {**tags, 273: (kind, places), 279: (kind, [len(strip) for strip in strips])}
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            body = struct.pack(self.order + str(len(values)) + {3: "H", 4: "I", 16: "Q"}[kind], *values)
            room = 8 if self.big else 4
            if len(body) > room:
                body = struct.pack(self.order + offset, self.put(body))
            entries += struct.pack(self.order + "HH" + offset, tag, kind, len(values)) + body.ljust(room, b"\0")
        count = struct.pack(self.order + ("Q" if self.big else "H"), len(tags))
        at = self.put(count + entries + struct.pack(self.order + offset, len(self.data) if loop else 0))
        self.data = self.data[: self.link] + struct.pack(self.order + offset, at) + self.data[self.link + struct.calcsize(offset) :]
        self.link = at + len(count + entries)


def pack(samples, bits):
    lines = b""
    for row in samples:
        flat = row.reshape(-1).astype(np.uint8)
        lines += np.packbits(((flat[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)).tobytes()
    return lines


def raw(samples, photometric, bits=8, extra=(), colours=None, big_endian=False, big=False, planes=False, more=(), writer=None):
    """(rows, columns, channels) of whole numbers -> a TIFF of one strip (or one a plane)."""
    out = writer or Writer(big_endian, big)
    channels = samples.shape[2]
    parts = [samples[:, :, c : c + 1] for c in range(channels)] if planes else [samples]
    if bits < 8:
        strips = [pack(part, bits) for part in parts]
    else:
        strips = [part.astype(f"{out.order}u{bits // 8}").tobytes() for part in parts]
    tags = {256: (3, [samples.shape[1]]), 257: (3, [samples.shape[0]]), 258: (3, [bits] * channels), 259: (3, [1]),
            262: (3, [photometric]), 277: (3, [channels]), 278: (3, [samples.shape[0]]), 284: (3, [2 if planes else 1])}  # fmt: skip
    if extra:
        tags[338] = (3, list(extra))
    if colours is not None:
        tags[320] = (3, (colours.astype(int).T * 257).reshape(-1).tolist())
    tags.update(dict(more))
    out.page(strips, tags)
    return out.data


def by_tifffile(samples, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, samples, metadata=None, software=False, **options)
    return out.getvalue()


def by_pillow(image, **options):
    out = io.BytesIO()
    image.save(out, "TIFF", **options)
    return out.getvalue()


def pictures(rgb):
    grey = rgb[:, :, :1]
    flat = grey[:, :, 0]
    wide = rgb.astype(np.uint16) * 256 + 255 - rgb
    alpha = np.linspace(0, 255, ROWS * COLUMNS).astype(np.uint8).reshape(ROWS, COLUMNS, 1)
    colours = np.random.default_rng(5).integers(0, 256, (256, 3), dtype=np.uint8)
    multiplied = (rgb.astype(int) * alpha // 255).astype(np.uint8)
    with_alpha = np.concatenate([rgb, alpha], -1)
    wide_alpha = np.concatenate([wide, alpha.astype(np.uint16) * 257], -1)
    wide_multiplied = (wide.astype(np.int64) * wide_alpha[:, :, 3:] // 65535).astype(np.uint16)
    noise = np.random.default_rng(7).normal(0, 40, flat.shape)
    camera = np.clip(flat.astype(float) * 12 + 200 + noise, 0, 4095).astype(np.uint16)
    camera[3, 4], camera[10, 20] = 0, 65535  # a dead and a hot pixel: what percentiles are for
    files = {
        "grey8.tif": raw(grey, 1), "grey8_white.tif": raw(grey, 0), "grey8_big_endian.tif": raw(grey, 1, big_endian=True),
        "grey_alpha8.tif": raw(np.concatenate([grey, alpha], -1), 1, extra=[2]),
        "grey_extra8.tif": raw(np.concatenate([grey, alpha], -1), 1, extra=[0]),
        "grey16_white.tif": raw(wide[:, :, :1], 0, bits=16), "grey16_big_endian.tif": raw(wide[:, :, :1], 1, bits=16, big_endian=True),
        "grey16_camera.tif": by_tifffile(camera, compression="zlib", predictor=True),
        "rgb8.tif": raw(rgb, 2), "rgb8_planes.tif": raw(rgb, 2, planes=True), "rgba8.tif": raw(with_alpha, 2, extra=[2]),
        "rgba8_untold.tif": raw(with_alpha, 2), "rgbx8_planes.tif": raw(with_alpha, 2, extra=[0], planes=True),
        "rgba8_multiplied.tif": raw(np.concatenate([multiplied, alpha], -1), 2, extra=[1]),
        "rgb16.tif": raw(wide, 2, bits=16), "rgb16_big_endian.tif": raw(wide, 2, bits=16, big_endian=True),
        "rgba16.tif": raw(wide_alpha, 2, bits=16, extra=[2]),
        "rgba16_multiplied.tif": raw(np.concatenate([wide_multiplied, wide_alpha[:, :, 3:]], -1), 2, bits=16, extra=[1]),
        "bigtiff.tif": raw(rgb, 2, big=True), "bigtiff_big_endian.tif": raw(wide, 2, bits=16, big=True, big_endian=True),
        "fill_order.tif": raw(np.packbits(np.unpackbits(grey, axis=-1)[:, :, ::-1], axis=-1), 1, more=[(266, (3, [2]))]),
        "ycbcr_lzw.tif": by_pillow(Image.fromarray(rgb).convert("YCbCr"), compression="tiff_lzw"),
        "grey8_lzw.tif": by_tifffile(flat, compression="lzw", rowsperstrip=5),
        "rgb8_lzw_predictor.tif": by_tifffile(rgb, compression="lzw", predictor=True, rowsperstrip=4),
        "rgb8_deflate.tif": by_tifffile(rgb, compression="zlib"), "rgb8_packbits.tif": by_tifffile(rgb, compression="packbits"),
        "rgb8_zstd.tif": by_tifffile(rgb, compression="zstd"),
        "grey8_tiled.tif": by_tifffile(flat, tile=(16, 16)), "rgb8_tiled_lzw.tif": by_tifffile(rgb, tile=(16, 32), compression="lzw"),
        "rgb16_planes_tiled_deflate.tif": by_tifffile(
            np.moveaxis(wide, -1, 0).copy(), tile=(16, 16), compression="zlib", photometric="rgb", planarconfig="separate"),
        "palette8_tiled.tif": by_tifffile(flat, tile=(16, 16), photometric="palette", colormap=colours.T.astype(np.uint16) * 257),
        "ycbcr_jpeg.tif": by_pillow(Image.fromarray(rgb), compression="jpeg", quality=88),
        "ycbcr_jpeg_tiled.tif": by_tifffile(rgb, tile=(16, 16), compression="jpeg", photometric="ycbcr", subsampling=(2, 2)),
        "rgb_jpeg.tif": by_tifffile(rgb, compression="jpeg", photometric="rgb"),
        "grey_jpeg.tif": by_tifffile(flat, compression="jpeg"),
        "bilevel_group4.tif": by_pillow(Image.fromarray(flat > 100), compression="group4"),
        "bilevel_group3.tif": by_pillow(Image.fromarray(flat > 100), compression="group3"),
    }  # fmt: skip
    for bits in (1, 2, 4):
        files[f"grey{bits}.tif"] = raw(grey >> (8 - bits), 1, bits=bits)
        files[f"grey{bits}_white.tif"] = raw(grey >> (8 - bits), 0, bits=bits)
    for bits in (1, 2, 4, 8):
        files[f"palette{bits}.tif"] = raw(grey >> (8 - bits), 3, bits=bits, colours=colours[: 2**bits])
    for tag in range(2, 9):
        files[f"orientation{tag}.tif"] = raw(rgb[:7, :5], 2, more=[(274, (3, [tag]))])
    pages = Writer()
    for n in range(3):
        raw(np.full((2 + n, 5, 1), 50 * n + 40), 1, writer=pages)
    files["pages.tif"] = pages.data
    return files


def refused(rgb):
    flat = rgb[:, :, 0]
    four = np.concatenate([rgb, rgb[:, :, :1]], -1)
    twelve = np.repeat(flat[:, :36].astype(np.uint16), 1, 1) * 16
    packed = np.packbits(((twelve[:, :, None] >> np.arange(11, -1, -1)) & 1).astype(np.uint8).reshape(ROWS, -1), axis=-1)
    out = Writer()
    out.page([packed.tobytes()], {256: (3, [36]), 257: (3, [ROWS]), 258: (3, [12]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]), 278: (3, [ROWS])})
    return {
        "float32.tif": (by_tifffile(flat.astype(np.float32) / 255), "32-bit floating point"),
        "int16.tif": (by_tifffile(flat.astype(np.int16) - 100), "16-bit signed whole numbers"),
        "uint32.tif": (by_tifffile(flat.astype(np.uint32)), "32-bit whole numbers"),
        "cmyk.tif": (raw(four, 5), "CMYK"),
        "lab.tif": (raw(rgb, 8), "L*a*b*"),
        "logluv.tif": (raw(rgb, 32845), "LogLuv"),
        "raw_camera.tif": (raw(rgb[:, :, :1], 32803), "raw data"),
        "channels.tif": (raw(four, 1, extra=[0, 0, 0]), "4 channels"),
        "twelve_bits.tif": (out.data, "12-bit"),
        "old_jpeg.tif": (raw(rgb[:, :, :1], 1, more=[(259, (3, [6]))]), "old-style JPEG"),
        "unknown_compression.tif": (raw(rgb[:, :, :1], 1, more=[(259, (3, [60000]))]), "compression 60000"),
    }  # fmt: skip


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def to_rgb(samples):
    return np.repeat(samples[:, :, None], 3, -1) if samples.ndim == 2 else samples


def stretched(samples, how):
    ordered = np.sort(samples.reshape(-1).astype(np.int64))
    cut = (ordered.size - 1) // 1000 if how == "percentile" else 0
    low, high = ordered[cut], ordered[ordered.size - 1 - cut]
    above = np.clip(samples.astype(np.int64), low, high) - low
    return to_rgb(((510 * above + (high - low)) // (2 * (high - low))).astype(np.uint8))


def opened(name, data):
    """By Pillow, or by tifffile what Pillow does not know."""
    if name not in ("rgbx8_planes.tif", "bigtiff_big_endian.tif"):
        return Image.open(io.BytesIO(data))
    samples = tifffile.imread(io.BytesIO(data))
    samples = np.moveaxis(samples, 0, -1) if samples.shape[0] == 4 else samples
    high = samples >> 8 if samples.dtype == np.uint16 else samples
    image = Image.fromarray(np.ascontiguousarray(high[:, :, :3].astype(np.uint8)))
    image.tag_v2 = {}
    return image


def expectation(name, data):
    image = opened(name, data)
    orientation = image.tag_v2.get(274, 1)
    entry = {"file": name}
    if image.mode.startswith("I;16"):
        samples = np.array(image)
        if image.tag_v2[262] == 0:
            samples = 65535 - samples
        upright = Image.fromarray(to_rgb((samples >> 8).astype(np.uint8)))
        entry.update({how: digest(stretched(samples, how)) for how in ("range", "percentile")})
    elif image.mode == "La":
        upright = image.convert("LA").convert("RGB")
    else:
        upright = image.convert("RGB")
    if name in ("rgb16.tif", "rgba16.tif"):
        samples = tifffile.imread(io.BytesIO(data))[:, :, :3]
        entry.update({how: digest(stretched(samples, how)) for how in ("range", "percentile")})
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that undoes an orientation
    stored = upright.transpose(back[orientation]) if orientation > 1 else upright
    if orientation > 1:  # the turn by hand is the one that Pillow did
        exif = Image.Exif()
        exif[274] = orientation
        stored.info["exif"] = exif.tobytes()
        assert ImageOps.exif_transpose(stored).tobytes() == upright.tobytes(), name
    entry["size"], entry["stored_sha256"] = list(stored.size), digest(np.array(stored))
    entry["upright_size"], entry["upright_sha256"] = list(upright.size), digest(np.array(upright))
    return entry


def labels():
    """name -> (file, values)."""
    rng = np.random.default_rng(3)
    numbers = (rng.integers(0, 41, (9, 11)) + 25999).astype(np.uint32)
    numbers[numbers == 25999] = 0
    small = np.where(numbers == 0, 0, numbers - 25999)
    rgb = rng.integers(0, 256, (42, 3))
    rgb[0] = 0
    colours = rgb[small]
    as_number = colours[:, :, 0] * 65536 + colours[:, :, 1] * 256 + colours[:, :, 2]
    wide = colours * 256 + small[:, :, None] * (small[:, :, None] > 0)
    key = wide[:, :, 0].astype(object) * 2**32 + wide[:, :, 1].astype(object) * 2**16 + wide[:, :, 2]
    rank = {colour: n for n, colour in enumerate(sorted({0, *key.reshape(-1)}))}
    ranks = np.vectorize(rank.get)(key)
    alpha = rng.integers(0, 3, (9, 11, 1)) * 100
    seen = np.where(alpha[:, :, 0] == 0, 0, 1)
    palette = rng.integers(1, 256, (256, 3))
    palette[0] = 0
    shuffled = palette.copy()
    shuffled[0], shuffled[7], shuffled[9] = (200, 10, 10), 0, 0
    voc = palette.copy()
    voc[255] = (224, 224, 192)
    void = np.where(small == 40, 255, small)
    chunks = lambda colours, *more: [(b"PLTE", colours.astype(np.uint8).tobytes()), *more]
    one = lambda values: values[:, :, None]
    bit = (small > 20).astype(int)
    cells = np.kron(np.arange(26000, 26040).reshape(5, 8), np.ones((10, 10), int))
    cells[::10] = cells[:, ::10] = 0
    return {
        "cells40.png": (png(one(cells), 16, 0), cells),
        "cells40.tif": (by_tifffile(cells.astype(np.uint16), compression="zlib"), cells),
        "grey8.png": (png(one(small), 8, 0), small),
        "grey4.png": (png(one(small % 16), 4, 0), small % 16),
        "grey1.png": (png(one(bit), 1, 0), bit),
        "grey16.png": (png(one(numbers), 16, 0), numbers),
        "grey16_alpha.png": (png(np.concatenate([one(numbers), alpha], -1), 16, 4), numbers * seen),
        "grey16_clear.png": (png(one(numbers), 16, 0, [(b"tRNS", struct.pack(">H", 26003))]), np.where(numbers == 26003, 0, numbers)),
        "rgb8.png": (png(colours, 8, 2), as_number),
        "rgba8.png": (png(np.concatenate([colours, alpha], -1), 8, 6), as_number * seen),
        "rgb16.png": (png(wide, 16, 2), ranks),
        "palette8.png": (png(one(small), 8, 3, chunks(palette)), small),
        "palette8_same.png": (png(one(small), 8, 3, chunks(palette * 0)), small),
        "palette8_clear.png": (png(one(small), 8, 3, chunks(palette, (b"tRNS", bytes([0, 255, 0, 9])))), np.where(small == 2, 0, small)),
        "palette8_void.png": (png(one(void), 8, 3, chunks(voc)), np.where(void == 255, 0, void)),
        "palette8_shuffled.png": (png(one(small), 8, 3, chunks(shuffled)), np.where(small == 0, 7, np.where((small == 7) | (small == 9), 0, small))),
        "palette4.png": (png(one(small % 16), 4, 3, chunks(palette[:16])), small % 16),
        "uint8.tif": (by_tifffile(small.astype(np.uint8)), small),
        "uint16.tif": (by_tifffile(numbers.astype(np.uint16), compression="zlib"), numbers),
        "uint16_big_endian.tif": (by_tifffile(numbers.astype(">u2"), byteorder=">"), numbers),
        "uint32.tif": (by_tifffile(numbers * 70000, tile=(16, 16)), numbers * np.uint32(70000)),
        "int16.tif": (by_tifffile(small.astype(np.int16)), small),
        "int32.tif": (by_tifffile(numbers.astype(np.int32)), numbers),
        "int64.tif": (by_tifffile(numbers.astype(np.int64)), numbers),
        "float32.tif": (by_tifffile(numbers.astype(np.float32)), numbers),
        "bilevel_white.tif": (raw(one(bit), 0, bits=1), 1 - bit),
        "palette8.tif": (by_tifffile(small.astype(np.uint8), photometric="palette", colormap=palette.T.astype(np.uint16) * 257), small),
        "rgb8_planes.tif": (raw(colours, 2, planes=True), as_number),
        "rgb16.tif": (raw(wide, 2, bits=16), ranks),
        "turned.tif": (raw(one(numbers), 1, bits=16, more=[(274, (3, [6]))]), np.rot90(numbers, -1)),
        "negative.tif": (by_tifffile(small.astype(np.int32) - 1), "a label of -1"),
        "broken.tif": (by_tifffile(small.astype(np.float32) / 2), "whole numbers from 0"),
        "jpeg.tif": (by_tifffile(small.astype(np.uint8), compression="jpeg"), "no labels"),
    }  # fmt: skip


def write(folder, files, expected):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "expected.json").write_text("[\n" + ",\n".join(json.dumps(e) for e in expected) + "\n]\n")


def main():
    folder, mask_folder, seeds = map(Path, sys.argv[1:4])
    rgb = picture()
    files = pictures(rgb)
    expected = [expectation(name, data) for name, data in files.items()]
    for name, (data, word) in refused(rgb).items():
        files[name] = data
        expected.append({"file": name, "error": word})
    write(folder, files, expected)
    masks, expected = {}, []
    for name, (data, values) in labels().items():
        masks[name] = data
        if isinstance(values, str):
            expected.append({"file": name, "error": values})
        else:
            expected.append({"file": name, "size": list(values.shape[::-1]), "sha256": digest(values.astype("<u4"))})
    write(mask_folder, masks, expected)
    seeds.mkdir(parents=True, exist_ok=True)
    for name in FUZZ_SEEDS:
        (seeds / name).write_bytes((files | masks)[name])


if __name__ == "__main__":
    main()
