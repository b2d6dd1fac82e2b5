"""Writes tests/data/images: small pictures in every stored form, and what Pillow makes of them.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0 numpy
    venv/bin/python scripts/goldens/make_image_fixtures.py tests/data/images

expected.json: for each file its size and the SHA-256 of the RGB bytes, as stored (convert("RGB")) and upright
(exif_transpose before it). Pillow clips 16-bit grey; there the high byte is expected instead.
"""

import hashlib
import io
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROWS, COLUMNS = 23, 37
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def picture():
    """A smooth colour field, a disc and a hard edge: no symmetry, so every turn shows."""
    y, x = np.mgrid[0:ROWS, 0:COLUMNS].astype(np.float64)
    red = 255 * x / (COLUMNS - 1)
    green = 127 + 100 * np.sin(y / 3 + x / 7)
    blue = 255 * y / (ROWS - 1)
    rgb = np.stack([red, green, blue], axis=-1)
    rgb[(y - 7) ** 2 + (x - 10) ** 2 < 25] = (250, 220, 30)
    rgb[15:19, 24:] = (10, 20, 160)
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)


def exif_block(orientation, big_endian=False, kind=3):
    order = ">" if big_endian else "<"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *([orientation, 0] if kind == 3 else [orientation]))
    camera = struct.pack(order + "HHI", 0x0110, 2, 4) + b"abc\0"
    tag = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    return (b"MM" if big_endian else b"II") + struct.pack(order + "HIH", 42, 8, 2) + camera + tag + b"\0\0\0\0"


def pack_rows(samples, depth):
    """(rows, columns, channels) -> PNG scan lines without filtering."""
    lines = b""
    for row in samples:
        flat = row.reshape(-1).astype(np.uint32)
        if depth == 16:
            data = flat.astype(">u2").tobytes()
        elif depth == 8:
            data = flat.astype(np.uint8).tobytes()
        else:
            bits = ((flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8)
            data = np.packbits(bits.reshape(-1)).tobytes()
        lines += b"\0" + data
    return lines


def png(samples, depth, colour_type, chunks=(), interlaced=False, after=()):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    if interlaced:
        raw = b"".join(pack_rows(samples[y::sy, x::sx], depth) for y, x, sy, sx in ADAM7 if samples[y::sy, x::sx].size)
    else:
        raw = pack_rows(samples, depth)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour_type, 0, 0, int(interlaced))
    data = zlib.compress(raw, 9)
    parts = [chunk(b"IHDR", header)] + [chunk(*c) for c in chunks]
    parts += [chunk(b"IDAT", data[: len(data) // 2]), chunk(b"IDAT", data[len(data) // 2 :])]
    parts += [chunk(*c) for c in after] + [chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_files(rgb):
    grey = rgb[:, :, :1]
    wide = rgb.astype(np.uint32) * 256 + 255 - rgb
    alpha = np.linspace(0, 255, ROWS * COLUMNS).astype(np.uint8).reshape(ROWS, COLUMNS, 1)
    wide_alpha = alpha.astype(np.uint32) * 257
    colours = np.random.default_rng(5).integers(0, 256, (256, 3), dtype=np.uint8)
    opacity = bytes(range(0, 250, 10))
    files = {
        "rgb8.png": png(rgb, 8, 2),
        "rgb8_interlaced.png": png(rgb, 8, 2, interlaced=True),
        "rgb8_transparent_colour.png": png(rgb, 8, 2, [(b"tRNS", struct.pack(">HHH", *map(int, rgb[0, 0])))]),
        "rgb16.png": png(wide, 16, 2),
        "rgba8.png": png(np.concatenate([rgb, alpha], -1), 8, 6),
        "rgba16_interlaced.png": png(np.concatenate([wide, wide_alpha], -1), 16, 6, interlaced=True),
        "grey8.png": png(grey, 8, 0),
        "grey8_transparent_value.png": png(grey, 8, 0, [(b"tRNS", struct.pack(">H", int(grey[3, 3, 0])))]),
        "grey16.png": png(wide[:, :, :1], 16, 0),
        "grey_alpha8.png": png(np.concatenate([grey, alpha], -1), 8, 4),
        "grey_alpha16.png": png(np.concatenate([wide[:, :, :1], wide_alpha], -1), 16, 4),
        "gamma.png": png(rgb, 8, 2, [(b"gAMA", struct.pack(">I", 100000)), (b"sRGB", b"\0")]),
        "orientation6.png": png(rgb, 8, 2, [(b"eXIf", exif_block(6, big_endian=True))]),
        "orientation8_behind.png": png(rgb, 8, 2, after=[(b"eXIf", exif_block(8, kind=4))]),
    }
    for depth in (1, 2, 4):
        files[f"grey{depth}.png"] = png(grey >> (8 - depth), depth, 0)
    for depth in (1, 2, 4, 8):
        chunks = [(b"PLTE", colours[: 2**depth].tobytes()), (b"tRNS", opacity[: 2**depth])]
        files[f"palette{depth}_alpha.png"] = png(grey >> (8 - depth), depth, 3, chunks, interlaced=depth == 2)
    return files


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 88, **options})
    return out.getvalue()


def jpeg_files(rgb):
    image = Image.fromarray(rgb)
    inks = image.convert("CMYK")
    black = np.array(inks)
    black[:, :, 3] = np.linspace(0, 200, COLUMNS).astype(np.uint8)
    inks = Image.fromarray(black, "CMYK")
    cmyk = jpeg(inks)
    adobe = cmyk.index(b"Adobe")
    ycck = cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :]
    files = {
        "444.jpg": jpeg(image, subsampling="4:4:4"),
        "422.jpg": jpeg(image, subsampling="4:2:2"),
        "420.jpg": jpeg(image, subsampling="4:2:0"),
        "progressive.jpg": jpeg(image, subsampling="4:2:0", progressive=True),
        "restarts.jpg": jpeg(image, restart_marker_blocks=2, optimize=True),
        "stored_rgb.jpg": jpeg(image, keep_rgb=True, subsampling="4:4:4"),
        "grey.jpg": jpeg(image.convert("L")),
        "cmyk.jpg": cmyk,
        "ycck.jpg": ycck,
    }
    for orientation in range(1, 9):
        block = b"Exif\0\0" + exif_block(orientation, big_endian=orientation % 2 == 0)
        files[f"orientation{orientation}.jpg"] = jpeg(image, exif=block, quality=60)
    return files


def webp_files(rgb):
    alpha = np.linspace(0, 255, ROWS * COLUMNS).astype(np.uint8).reshape(ROWS, COLUMNS, 1)
    image, clear = Image.fromarray(rgb), Image.fromarray(np.concatenate([rgb, alpha], -1))

    def webp(source, **options):
        out = io.BytesIO()
        source.save(out, "WEBP", **options)
        return out.getvalue()

    return {
        "lossy.webp": webp(image, quality=80),
        "lossless.webp": webp(image, lossless=True),
        "lossy_alpha.webp": webp(clear, quality=80),
        "lossless_alpha.webp": webp(clear, lossless=True, exact=True),
        "orientation6.webp": webp(image, lossless=True, exif=exif_block(6)),
        "animated.webp": webp(image, lossless=True, save_all=True, append_images=[image.rotate(180)]),
    }


def ppm_files(rgb):
    grey = rgb[:, :, 0]
    size = f"{COLUMNS} {ROWS}".encode()
    return {
        "rgb.ppm": b"P6\n# a comment\n" + size + b"\n# another\n255\n" + rgb.tobytes(),
        "rgb_100.ppm": b"P6 " + size + b" 100\n" + (rgb // 3).tobytes(),
        "rgb_1023.ppm": b"P6\t" + size + b"\r1023\n" + (rgb.astype(np.uint16) * 4 + 3).astype(">u2").tobytes(),
        "grey.pgm": b"P5\n" + size + b"\n255\n" + grey.tobytes(),
        "grey_15.pgm": b"P5\n" + size + b"\n15\n" + (grey >> 4).tobytes(),
    }


def expectation(name, data):
    stored = Image.open(io.BytesIO(data))
    if stored.mode.startswith("I;16"):
        high = (np.array(stored) >> 8).astype(np.uint8)
        stored = upright = Image.fromarray(high).convert("RGB")
    else:
        upright = ImageOps.exif_transpose(stored).convert("RGB")
        stored = stored.convert("RGB")
    digest = lambda image: hashlib.sha256(image.tobytes()).hexdigest()
    return {
        "file": name,
        "size": list(stored.size),
        "stored_sha256": digest(stored),
        "upright_size": list(upright.size),
        "upright_sha256": digest(upright),
    }


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rgb = picture()
    expected = []
    for name, data in {**png_files(rgb), **jpeg_files(rgb), **webp_files(rgb), **ppm_files(rgb)}.items():
        (folder / name).write_bytes(data)
        if name != "animated.webp":
            expected.append(expectation(name, data))
    (folder / "expected.json").write_text("[\n" + ",\n".join(json.dumps(e) for e in expected) + "\n]\n")


if __name__ == "__main__":
    main()
