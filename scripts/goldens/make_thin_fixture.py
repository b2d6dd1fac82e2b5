"""Prints what Pillow makes of pictures of 1 x 20,000 pixels: the goldens in tests/io/preprocess_test.cc.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0
    venv/bin/python scripts/goldens/make_thin_fixture.py

The steps are those of timm's evaluation transform at crop_pct 0.9: torchvision's Resize(int) gives the short side
floor(size / 0.9) and the long one int(short * long / short before), then its CenterCrop. Whole, as they do it: 5 GB of memory.
"""

import hashlib
import math

from PIL import Image


def evaluate(image, size, filter_):
    short = math.floor(size / 0.9)
    width, height = image.size
    if width <= height:
        resized = image.resize((short, int(short * height / width)), filter_)
    else:
        resized = image.resize((int(short * width / height), short), filter_)
    left, top = (int(round((side - size) / 2.0)) for side in resized.size)
    return resized.crop((left, top, left + size, top + size))


def main():
    line = Image.frombytes("RGB", (20000, 1), bytes((i * i // 7 + 31 * i) % 251 for i in range(60000)))
    tall = line.transpose(Image.Transpose.TRANSPOSE)
    for size, filter_ in ((32, "BICUBIC"), (32, "BILINEAR"), (224, "BICUBIC")):
        for name, image in (("line", line), ("tall", tall)):
            for mode in ("RGB", "L"):
                made = evaluate(image.convert(mode), size, Image.Resampling[filter_])
                print(name, mode, size, filter_, hashlib.sha256(made.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
