#!/usr/bin/env python3
"""Converts every folder and file of tests/data/hub to transformers and to timm, opens the result with these
libraries and compares their answers with those that the fixture was made with.

    LOCANT=build/release/locant python scripts/check_convert.py tests/data/hub [CASE ...]

Needs torch, transformers, timm, safetensors and pillow. Prints a line a case and target; the exit code is 1 where an
answer differs, a library does not open what was written, or it misses a tensor that counts. What the target cannot be
told is a line with locant's sentence, and no failure. Of transformers' folders a second number: a picture, or the
fixture's tokens, through their image processor and model beside `locant classify` and `locant features`.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import PIL.Image
import safetensors.torch
import timm
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).parent / "goldens"))
from make_vit_files import dinat_class  # noqa: E402: NATTEN's functions by definition

BOUND = 2e-5
# Layers of transformers' classes that a model without a head leaves open and that no compared number needs.
OPEN = ("pooler.dense.", "vit.embeddings.mask_token", "deit.embeddings.mask_token")


def formula_input(shape):
    i = np.arange(int(np.prod(shape)))
    return torch.from_numpy(np.sin(0.37 * i + 0.11 * (i % 7)).astype(np.float32).reshape(shape))


def input_of(how):
    """None of ids."""
    shape = how.get("shape") or how.get("frames", {}).get("shape")
    return formula_input(shape) if shape else None


def convert(locant, case, path, expected, target, folder):
    hints = expected.get("command") or {}
    ignore = hints.get("ignore", [])
    words = [locant, "-q", "convert", str(path), "-o", str(folder), "--to", target]
    words += ["--key", hints["key"]] if "key" in hints else []
    words += ["--model", hints["model"]] if "model" in hints else []
    for pattern in [ignore] if isinstance(ignore, str) else ignore:
        words += ["--ignore", pattern]
    done = subprocess.run(words, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def opened(folder):
    """The model of a folder's class, with all of its tensors: by the Auto class where there is one for it."""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "dinat":
        dinat_class()
    cls = getattr(transformers, config["architectures"][0])
    auto = transformers.AutoModelForImageClassification if "ForImage" in cls.__name__ else transformers.AutoModel
    if cls.__name__.startswith("Sam") or cls.__name__.endswith("EncoderModel"):
        auto = cls
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    assert type(model) is cls, type(model)
    missing = [k for k in info["missing_keys"] if not k.startswith(OPEN)]
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], (missing, info)
    return model.eval()


def read_by(model, how):
    """The last hidden state, of ids or of what the encoder behind the audio takes."""
    mask = torch.tensor(how["mask"])
    if "ids" in how:
        return model(input_ids=torch.tensor(how["ids"]), attention_mask=mask).last_hidden_state
    frames = formula_input(how["frames"]["shape"])
    return model.encoder(frames, attention_mask=mask.bool()).last_hidden_state


def features_of(model, x):
    """What `locant features` gives, of a model without a head."""
    out, kind = model(x), model.config.model_type
    if kind in ("sam_vision_model", "vitdet"):
        return {"embedding": out.last_hidden_state}
    if kind == "cvt":
        return {"cls": out.cls_token_value[:, 0]}
    if kind == "beit":
        return {"cls": out.pooler_output}
    if kind == "pvt_v2":  # (1, C, rows, columns)
        return {"mean": out.last_hidden_state.mean((2, 3))}
    if kind == "dinat":
        return {"mean": out.pooler_output}
    # PVT's class token is the first of the last stage.
    last = out.last_hidden_state
    return {"mean": last.mean(1)} if kind in ("swin", "swinv2", "levit") else {"cls": last[:, 0]}


def of_transformers(folder, expected, x):
    model = opened(folder)
    with torch.no_grad():
        if "mask" in expected["input"]:
            return {"output": read_by(model, expected["input"])}
        transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
        if type(model).__name__ == "SamModel":
            point = expected["point"]
            out = model(pixel_values=x, input_points=torch.tensor([[[[point["x"], point["y"]]]]]))
            return {
                "embedding": model.get_image_embeddings(x),
                "iou_scores": out.iou_scores,
                "masks": out.pred_masks,
            }
        return {"logits": model(x).logits} if "ForImage" in type(model).__name__ else features_of(model, x)


def run(locant, *words):
    done = subprocess.run([locant, "-q", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.strip()
    return done.stdout


def beside_locant(locant, folder, expected):
    """The largest difference of the whole way: what prepares a picture, and the model."""
    model, made = opened(folder), folder / "features.safetensors"
    if "mask" in expected["input"]:
        how = expected["input"]
        given = torch.tensor(how["ids"]) if "ids" in how else formula_input(how["frames"]["shape"])
        names = ("input_ids" if "ids" in how else "input", "attention_mask")
        inputs = {names[0]: given.float(), names[1]: torch.tensor(how["mask"]).float()}
        safetensors.torch.save_file(inputs, folder / "inputs.safetensors")
        run(locant, "features", folder / "inputs.safetensors", "--weights", folder, "-o", made)
        got = safetensors.torch.load_file(made)["last_hidden_state"]
        with torch.no_grad():
            return apart(got, read_by(model, how))
    if model.config.model_type.startswith("sam") or getattr(model.config, "num_channels", 3) != 3:
        return None
    picture = PIL.Image.fromarray(np.random.default_rng(7).integers(0, 256, (61, 74, 3), dtype=np.uint8), "RGB")
    picture.save(folder / "noise.png")
    processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    x = processor(images=picture, return_tensors="pt")["pixel_values"]
    if model.config.model_type == "levit" and x.shape[-1] != model.config.image_size:
        return None  # tables of one size, in a folder whose processor makes another
    with torch.no_grad():
        if "ForImage" in type(model).__name__:
            logits = model(x).logits[0]
            kind = model.config.problem_type
            logs = torch.nn.functional.logsigmoid(logits) if kind else logits.log_softmax(0)
            lines = run(locant, "classify", folder / "noise.png", "--weights", folder, "--json", "--top", len(logits))
            got = torch.zeros(len(logits))
            for score in json.loads(lines)["top"]:
                got[score["index"]] = score["value" if kind == "regression" else "probability"]
            return apart(got, logits) if kind == "regression" else apart(got.log(), logs)
        run(locant, "features", folder / "noise.png", "--weights", folder, "--crop", "-o", made)
        (key, want), = features_of(model, x).items()
        tensors = safetensors.torch.load_file(made)
        return apart(tensors["patches"].permute(2, 0, 1) if key == "embedding" else tensors["cls"], want[0])


def of_timm(folder, expected, x):
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        out = model.forward_features(x)
        if expected.get("logits") is not None:
            return {"logits": model(x)}
    if expected.get("embedding"):
        return {"embedding": out}
    if out.dim() == 4:
        return {"mean": out.mean((1, 2))}
    return {"cls": out[:, 0]}


def apart(got, want):
    """Relative to the largest number."""
    return float((got.double() - want.double()).abs().max() / want.double().abs().max())


def difference(got, expected):
    """Of the number lists that both have, the largest, each relative to its largest number."""
    lists = {}
    for key, value in got.items():
        want = expected.get(key)
        if want is None:
            continue
        want = np.array(want["values"] if isinstance(want, dict) else want, dtype=np.float64)
        have = value.numpy().astype(np.float64).ravel()[: want.size]
        lists[key] = float(np.abs(have - want).max() / np.abs(want).max())
    assert lists, f"nothing to compare: {list(got)} and {[k for k in expected if expected[k] is not None]}"
    return " ".join(lists), max(lists.values())


def main():
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    locant = os.environ.get("LOCANT", "build/release/locant")
    root = pathlib.Path(sys.argv[1])
    cases = sys.argv[2:] or sorted(p.parent.name for p in root.glob("*/expected.json"))
    failed = counted = refused = 0
    for case in cases:
        expected = json.loads((root / case / "expected.json").read_text())
        if not expected["loads"]:
            continue
        for target, load in (("transformers", of_transformers), ("timm", of_timm)):
            with tempfile.TemporaryDirectory() as work:
                folder = pathlib.Path(work) / "out"
                sentence = convert(locant, case, root / case / expected["path"], expected, target, folder)
                if sentence is not None:
                    print(f"{case:36} {target:13} refused: {sentence[:150]}", flush=True)
                    refused += 1
                    continue
                counted += 1
                try:
                    key, most = difference(load(folder, expected, input_of(expected["input"])), expected)
                    line = f"{key} {most:.1e}"
                    bound = max(BOUND, expected.get("tolerance") or 0.0)
                    whole = beside_locant(locant, folder, expected) if target == "transformers" else None
                    if whole is not None:
                        line += f", beside locant {whole:.1e}"
                        most = max(most, whole)
                    line += "" if most <= bound else "  DIFFERS"
                    failed += most > bound
                except Exception as error:  # any of two libraries': a line of the table, not the end of it
                    line = f"FAILED {type(error).__name__}: {str(error)[:300]}"
                    failed += 1
                print(f"{case:36} {target:13} {line}", flush=True)
    print(f"{counted} written, {refused} refused, {failed} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
