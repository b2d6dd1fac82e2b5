"""Writes tests/data/augment: what Pillow's operations make of small pictures, and what timm makes of its draws.

    python3 -m venv venv && venv/bin/pip install timm==1.0.31 torch torchvision pillow==13.0.0
    venv/bin/python scripts/goldens/make_augment_fixtures.py tests/data

pil_ops.json: pictures (a file of tests/data, or rows, columns, low and span of the formula below), and for each of them
and each operation the SHA-256 of the RGB bytes at all its arguments, one after the other. timm.json: arguments of
RandAugment's operations at levels, what its texts mean, sizes of random resized crops where they are settled, boxes of
cutmix for given numbers.
"""

import hashlib
import json
import random
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import PIL
import timm
from PIL import Image, ImageEnhance, ImageOps
from timm.data import auto_augment, mixup
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

PICTURES = {
    "photo": {"file": "images/rgb8.png"},
    "busy": {"rows": 48, "columns": 64, "low": 0, "span": 256},
    "dull": {"rows": 31, "columns": 17, "low": 90, "span": 40},
    "large": {"rows": 150, "columns": 201, "low": 3, "span": 250},
    "flat": {"rows": 9, "columns": 8, "low": 77, "span": 1},
    "dot": {"rows": 1, "columns": 1, "low": 200, "span": 1},
    "line": {"rows": 1, "columns": 40, "low": 0, "span": 256},
    "post": {"rows": 40, "columns": 1, "low": 20, "span": 200},
    "pair": {"rows": 2, "columns": 3, "low": 0, "span": 256},
    "small": {"rows": 3, "columns": 3, "low": 0, "span": 256},
}
FILL = (124, 116, 104)
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def picture(spec, data):
    if "file" in spec:
        return Image.open(data / spec["file"]).convert("RGB")
    y, x, c = np.mgrid[0 : spec["rows"], 0 : spec["columns"], 0:3]
    value = spec["low"] + (x * x * (c + 3) + 7 * y * (c + 1) + 5 * x * y + 11 * c) % spec["span"]
    return Image.fromarray(value.astype(np.uint8))


def sha(*images):
    return hashlib.sha256(b"".join(image.convert("RGB").tobytes() for image in images)).hexdigest()


FACTORS = [0.0, 0.1, 0.19, 0.37, 0.5, 0.73, 0.99, 1.0, 1.09, 1.27, 1.5, 1.81, 1.9, 3.3]
PARTS = [-0.3, -0.123, 0.0, 0.01, 0.27, 0.3, 0.45]
DEGREES = [-30.0, -17.3, -1e-3, 0.0, 0.5, 12.345, 27.0, 30.0, 45.0, 90.0, 180.0, -90.0, 359.0]
# Each operation with its arguments; those that interpolate are called with a filter besides.
POINTWISE = {
    "picture": (lambda image, _: image, [0]),
    "grey": (lambda image, _: image.convert("L"), [0]),
    "autocontrast": (lambda image, _: ImageOps.autocontrast(image), [0]),
    "equalize": (lambda image, _: ImageOps.equalize(image), [0]),
    "invert": (lambda image, _: ImageOps.invert(image), [0]),
    "mirror": (lambda image, _: ImageOps.mirror(image), [0]),
    "flip": (lambda image, _: ImageOps.flip(image), [0]),
    "posterize": (ImageOps.posterize, [1, 3, 4, 7, 8]),
    "solarize": (ImageOps.solarize, [0, 1, 100, 128, 255, 256]),
    "solarize_add": (auto_augment.solarize_add, [0, 1, 55, 110, 128]),
    "color": (lambda image, factor: ImageEnhance.Color(image).enhance(factor), FACTORS),
    "contrast": (lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), FACTORS),
    "brightness": (lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), FACTORS),
    "sharpness": (lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), FACTORS),
}
GEOMETRIC = {
    "shear_x": (auto_augment.shear_x, PARTS),
    "shear_y": (auto_augment.shear_y, PARTS),
    "translate_x": (auto_augment.translate_x_rel, PARTS),
    "translate_y": (auto_augment.translate_y_rel, PARTS),
    "rotate": (auto_augment.rotate, DEGREES),
}


def pil_ops(data):
    cases = []
    for name, spec in PICTURES.items():
        image = picture(spec, data)
        for op, (make, arguments) in POINTWISE.items():
            cases.append({"picture": name, "op": op, "sha256": sha(*(make(image, a) for a in arguments))})
        for op, (make, arguments) in GEOMETRIC.items():
            for filter_name, resample in FILTERS.items():
                made = [make(image, a, resample=resample, fillcolor=FILL) for a in arguments]
                cases.append({"picture": name, "op": op, "filter": filter_name, "sha256": sha(*made)})
    arguments = {op: given for op, (_, given) in (POINTWISE | GEOMETRIC).items()}
    return {
        "pillow": PIL.__version__,
        "fill": FILL,
        "pictures": PICTURES,
        "arguments": arguments,
        "cases": cases,
    }


LEVELS = [0.0, 0.4, 1.0, 2.49, 3.9, 5.0, 6.2, 7.5, 9.0, 9.99, 10.0, 12.5, 20.0]


def arguments():
    out = []
    for names, increasing in ((auto_augment._RAND_TRANSFORMS, False), (auto_augment._RAND_INCREASING_TRANSFORMS, True)):
        for name in names:
            level_fn = auto_augment.LEVEL_TO_ARG[name]
            if level_fn is None:
                continue
            for negate in (False, True):
                with mock.patch.object(random, "random", lambda: 0.9 if negate else 0.1):
                    got = [level_fn(level, dict(auto_augment._HPARAMS_DEFAULT))[0] for level in LEVELS]
                op = name.removesuffix("Increasing")
                out.append({"op": op, "increasing": increasing, "negate": negate, "arguments": got})
    return out


def texts():
    out = []
    for text in (
        "rand",
        "rand-m9-mstd0.5-inc1",
        "rand-m9-n3-mstd0.5",
        "rand-n1-m15-mmax20-p0.75",
        "rand-mstd101-m5",
        "rand-m7-tweights-n4",
        "rand-inc1-p1-m0",
        "rand-inc0-m4",
    ):
        made = auto_augment.rand_augment_transform(text, {"img_mean": FILL})
        weights = made.choice_weights
        out.append(
            {
                "text": text,
                "layers": made.num_layers,
                "magnitude": made.ops[0].magnitude,
                "probability": made.ops[0].prob,
                "std": str(made.ops[0].magnitude_std),
                "max": made.ops[0].magnitude_max or 10,
                "ops": [op.name for op in made.ops],
                "weights": None if weights is None else list(map(float, weights)),
            }
        )
    return out


def crops():
    """Sizes where scale and ratio leave no choice, and the central box where nothing fits."""
    out = []
    for rows, columns in ((100, 100), (23, 37), (640, 427), (1, 20000), (20000, 1), (5, 900), (900, 7), (3, 3)):
        for scale in (0.08, 0.37, 1.0):
            for ratio in ((0.75, 0.75), (1.0, 1.0), (1.31, 1.31), (0.75, 4 / 3), (2.0, 3.0)):
                image = Image.new("RGB", (columns, rows))
                settled = ratio[0] == ratio[1]
                if not settled and min(rows, columns) * 30 > max(rows, columns):
                    continue
                with mock.patch.object(random, "randint", lambda low, high: 0):
                    top, left, height, width = RandomResizedCropAndInterpolation.get_params(
                        image, (scale, scale), ratio
                    )
                if height < 1 or width < 1:
                    continue
                out.append(
                    {
                        "picture": [rows, columns],
                        "scale": scale,
                        "ratio": ratio,
                        "size": [height, width],
                        "central": [top, left],
                    }
                )
    return out


def resized_crops(data):
    out = []
    image = picture(PICTURES["large"], data)
    for box in ((0, 0, 150, 201), (10, 20, 64, 48), (149, 0, 1, 201), (3, 200, 140, 1), (50, 60, 7, 9)):
        for mode in ("bilinear", "bicubic", "lanczos"):
            made = F.resized_crop(image, *box, (28, 40), InterpolationMode(mode))
            out.append({"picture": "large", "box": box, "to": [28, 40], "filter": mode, "sha256": sha(made)})
    return out


def cutmix():
    out = []
    for rows, columns in ((32, 32), (7, 50), (1, 9), (224, 196)):
        for share in (0.0, 0.05, 0.3, 0.5, 0.77, 0.99, 1.0):
            for at in (0.0, 0.4, 0.999):
                centre = [int(rows * at), int(columns * at)]
                drawn = iter(centre)
                with mock.patch.object(np.random, "randint", lambda low, high, size=None: next(drawn)):
                    (top, bottom, left, right), corrected = mixup.cutmix_bbox_and_lam((3, rows, columns), share)
                out.append(
                    {
                        "picture": [rows, columns],
                        "share": share,
                        "centre": centre,
                        "box": [int(top), int(left), int(bottom - top), int(right - left)],
                        "corrected": float(corrected),
                    }
                )
    return out


def write(path, content, lists):
    """One line for each entry of the long lists."""
    text = json.dumps({k: v for k, v in content.items() if k not in lists}, indent=1)[:-2]
    for name in lists:
        text += f',\n "{name}": [\n' + ",\n".join("  " + json.dumps(entry) for entry in content[name]) + "\n ]"
    path.write_text(text + "\n}\n")


def main():
    data = Path(sys.argv[1])
    out = data / "augment"
    out.mkdir(exist_ok=True)
    write(out / "pil_ops.json", pil_ops(data), ["cases"])
    content = {
        "timm": timm.__version__,
        "levels": LEVELS,
        "arguments": arguments(),
        "texts": texts(),
        "crops": crops(),
        "resized_crops": resized_crops(data),
        "cutmix": cutmix(),
    }
    write(out / "timm.json", content, ["arguments", "texts", "crops", "resized_crops", "cutmix"])


main()
