"""Writes tests/data/hub/processors/*.json: processor files of the hub, and what the libraries make of pictures by them.

    python3 -m venv venv
    venv/bin/pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 transformers==5.24.0 pillow==12.3.0
    venv/bin/python scripts/goldens/make_processor_fixtures.py

Pillow 12, since checkpoints were trained with its order of passes (ResizeOrder in src/io/pil_resize.h). transformers by its
...Pil classes; Vivit's has no suffix and is one of them. Pictures are a formula, so that none is stored. Of each input the
file has the shape, 32 numbers, sum and sum of squares in float64, and the start of the SHA-256 of the bytes that were
normalised, interleaved plane after plane.
"""

import hashlib
import json
import pathlib
import tempfile

import numpy as np
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config

SIZES = ((227, 300), (300, 601), (3, 6), (20, 500), (224, 224), (257, 255), (640, 480))  # columns, rows
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/data/hub/processors"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def picture(columns, rows):
    y, x, c = (a.astype(np.uint32) for a in np.indices((rows, columns, 3)))
    mixed = x * np.uint32(73856093) ^ y * np.uint32(19349663) ^ c * np.uint32(83492791)
    mixed = (mixed ^ mixed >> np.uint32(15)) * np.uint32(2654435761)
    return Image.fromarray((mixed >> np.uint32(24)).astype(np.uint8))


def summary(made, columns, rows, rescale, offset, mean, std):
    values = np.asarray(made, dtype=np.float64)
    flat = values.reshape(-1)
    column = [np.asarray(x, dtype=np.float64).reshape(-1, 1, 1) for x in (mean, std)]
    raw = (values * column[1] + column[0] + offset) / rescale
    assert np.abs(raw - np.rint(raw)).max() < 1e-3, np.abs(raw - np.rint(raw)).max()
    places = [k * 2654435761 % flat.size for k in range(32)]
    return {
        "columns": columns,
        "rows": rows,
        "shape": list(values.shape),
        "bytes": hashlib.sha256(np.rint(raw).astype(np.uint8).tobytes()).hexdigest()[:16],
        "sum": float(f"{flat.sum():.9g}"),
        "squares": float(f"{(flat * flat).sum():.9g}"),
        "samples": [float(f"{flat[i]:.8g}") for i in places],
    }


def transformers_case(cls, name, model_type, file=None, channels=3, sizes=SIZES, **kwargs):
    """One of: keyword arguments of the class, saved by it; or a file's content by hand."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "preprocessor_config.json"
        if file is None:
            cls(**kwargs).save_pretrained(folder)
        else:
            path.write_text(json.dumps(file))
        text = json.loads(path.read_text())
        processor = cls.from_pretrained(folder)
    flag = lambda key: bool(getattr(processor, key, False))
    rescale = processor.rescale_factor if flag("do_rescale") else 1.0
    mean, std = (processor.image_mean, processor.image_std) if flag("do_normalize") else (0.0, 1.0)
    pictures = []
    for columns, rows in sizes:
        image = picture(columns, rows) if channels == 3 else picture(columns, rows).convert("L")
        clip = cls.__name__[:5] in ("Video", "Vivit")  # one of a single frame
        given = [[np.array(image)]] if clip else image
        made = np.asarray(processor(given, return_tensors="np")["pixel_values"])
        made = made.reshape(made.shape[-3:])
        pictures.append(summary(made, columns, rows, rescale, float(flag("offset")), mean, std))
    named = {"name": name, "class": cls.__name__, "model_type": model_type, "channels": channels}
    return {**named, "file": text, "pictures": pictures}


def timm_case(name, flat=False, channels=3, **cfg):
    cfg = {"input_size": [channels, 224, 224], **cfg}
    config = resolve_data_config(pretrained_cfg=cfg)
    transform = create_transform(**config, is_training=False)
    pictures = []
    for columns, rows in SIZES:
        image = picture(columns, rows) if channels == 3 else picture(columns, rows).convert("L")
        made = transform(image).numpy()
        pictures.append(summary(made, columns, rows, 1 / 255, 0.0, config["mean"], config["std"]))
    file = {"architecture": "any", **cfg} if flat else {"architecture": "any", "num_classes": 5, "pretrained_cfg": cfg}
    return {"name": name, "channels": channels, "timm": True, "file": file, "pictures": pictures}


def old(extractor, **keys):
    """A file of 2021: no do_rescale, no rescale_factor."""
    kind = {} if extractor is None else {"feature_extractor_type": extractor + "FeatureExtractor"}
    return {"do_normalize": True, "do_resize": True, **kind, **keys}


def main():
    T = transformers
    case = transformers_case
    square = {"height": 224, "width": 224}
    vit, deit, beit = T.ViTImageProcessorPil, T.DeiTImageProcessorPil, T.BeitImageProcessorPil
    bit, levit, convnext = T.BitImageProcessorPil, T.LevitImageProcessorPil, T.ConvNextImageProcessorPil
    some = ((227, 300), (3, 6), (257, 255))
    empty = lambda cls, model_type: case(cls, "empty", model_type, {}, sizes=some[:1])
    files = {
        "vit": [
            empty(vit, "swinv2"),
            case(vit, "saved", "vit"),
            case(vit, "2021", "vit", old("ViT", **HALF, resample=2, size=224)),
            case(vit, "2021, Swin's, no class", "swin", old(None, **IMAGENET, resample=3, size=224)),
            case(vit, "height, width", "vit", size={"height": 96, "width": 160}, resample=1, sizes=some),
            case(vit, "[h, w], one number", "vit", {"size": [64, 48], "image_mean": 0.25, "image_std": 0.5, "resample": 4},
                 sizes=some),
            case(vit, "not normalised", "vit", do_normalize=False, resample=5, sizes=some),
            case(vit, "normalised 0 to 255", "vit", do_rescale=False, sizes=some),
            case(vit, "a crop", "vit", do_center_crop=True, crop_size=200, size={"height": 227, "width": 231}, sizes=some),
            case(vit, "crop alone", "vit", do_resize=False, do_center_crop=True, crop_size=224),
            case(vit, "grey", "vit", channels=1, image_mean=[0.5], image_std=[0.25], sizes=some),
        ],
        "deit": [
            empty(deit, "deit"),
            case(deit, "saved", "deit"),
            case(deit, "2021", "deit", old("DeiT", **IMAGENET, resample=3, size=256, crop_size=224, do_center_crop=True)),
            case(deit, "227 to 224", "deit", size={"height": 227, "width": 231}),
            case(deit, "smaller than the crop", "deit", size={"height": 219, "width": 100}, sizes=some),
        ],
        "beit": [
            empty(beit, "beit"),
            case(beit, "saved", "beit"),
            case(beit, "2021", "data2vec-vision",
                 old("Beit", **HALF, resample=2, size=224, crop_size=224, do_center_crop=False), sizes=some),
            case(beit, "a crop", "beit", do_center_crop=True, size={"height": 256, "width": 256}, sizes=some),
        ],
        "pvt": [empty(T.PvtImageProcessorPil, "pvt"), case(T.PvtImageProcessorPil, "saved", "pvt_v2")],
        "bit": [
            empty(bit, "focalnet"),
            case(bit, "saved", "bit"),
            case(bit, "DINOv2's", "dinov2", size={"shortest_edge": 256}, **IMAGENET),
            case(bit, "absent and null keys", "dinov2", {"size": {"shortest_edge": 235}, "do_normalize": None}),
            case(bit, "two sides", "hiera", size={"shortest_edge": 120}, crop_size={"height": 100, "width": 65}),
            case(bit, "wider than the picture", "hiera", size={"shortest_edge": 61}, crop_size={"height": 100, "width": 300}),
            case(bit, "no crop", "hiera", do_center_crop=False, size={"height": 50, "width": 70}, sizes=some),
        ],
        "clip": [
            empty(T.CLIPImageProcessorPil, "clip"),
            case(T.CLIPImageProcessorPil, "2021", "clip",
                 old("CLIP", resample=3, size=224, crop_size=224, do_center_crop=True), sizes=some),
        ],
        "levit": [
            empty(levit, "levit"),
            case(levit, "saved", "levit"),
            case(levit, "2021", "levit", old("Levit", **IMAGENET, resample=3, size=111, do_center_crop=True)),
            case(levit, "height, width", "levit", size=square, crop_size=200, sizes=some),
        ],
        "convnext": [
            empty(convnext, "regnet"),
            case(convnext, "saved", "convnext", sizes=some),
            case(convnext, "224", "cvt", size={"shortest_edge": 224}, **IMAGENET),
            case(convnext, "2021", "cvt", old("ConvNext", **IMAGENET, resample=3, size=224, crop_pct=0.875)),
            case(convnext, "odd", "resnet", size={"shortest_edge": 101}, crop_pct=0.9),
        ],
        "clips": [
            empty(T.VideoMAEImageProcessorPil, "timesformer"),
            empty(T.VivitImageProcessor, "vivit"),
            case(T.VideoMAEImageProcessorPil, "saved", "videomae", sizes=some),
            case(T.VivitImageProcessor, "saved", "vivit"),
            case(T.VivitImageProcessor, "no offset", "vivit", offset=False, sizes=some),
        ],
        "timm": [
            timm_case("absent keys"),
            timm_case("center", crop_pct=0.9, interpolation="bicubic", crop_mode="center", mean=[0.5] * 3, std=[0.5] * 3),
            timm_case("flat", flat=True, crop_pct=0.95, interpolation="lanczos", mean=[0.0] * 3, std=[1.0] * 3),
            timm_case("two sides", input_size=[3, 192, 128], crop_pct=0.9),
            timm_case("squash", crop_pct=1.0, crop_mode="squash"),
            timm_case("squash, then crop", input_size=[3, 224, 200], crop_pct=0.95, crop_mode="squash"),
            timm_case("border", crop_pct=1.0, crop_mode="border", mean=[0.5, 0.456, 0.406]),
            timm_case("border, then crop", crop_pct=0.8, crop_mode="border", interpolation="bilinear"),
            timm_case("border of two sides", input_size=[3, 190, 131], crop_pct=0.9, crop_mode="border"),
            timm_case("grey", channels=1, crop_pct=0.9, mean=[0.449], std=[0.226]),
        ],
    }
    OUT.mkdir(parents=True, exist_ok=True)
    made_by = f"transformers {transformers.__version__}, timm {timm.__version__}, Pillow {Image.__version__}"
    for name, cases in files.items():
        lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
        (OUT / f"{name}.json").write_text(f'{{"made_by":"{made_by}","cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
