#!/usr/bin/env python3
"""Converts every folder and file of tests/data/hub to transformers and to timm, opens the result with these
libraries and compares their answers with those that the fixture was made with.

    LOCANT=build/release/locant python scripts/check_convert.py tests/data/hub [CASE ...]

Needs torch, transformers, timm and safetensors. Prints a line a case and target; the exit code is 1 where an answer
differs, a library does not open what was written, or it misses a tensor that counts. What the target cannot be told
is a line with locant's sentence, and no failure.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import timm
import torch
import transformers

BOUND = 2e-5
# Layers of transformers' classes that a model without a head leaves open and that no compared number needs.
OPEN = ("pooler.", "vit.embeddings.mask_token", "deit.embeddings.mask_token")


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


def of_reader(cls, folder, how):
    """Of a model of ids, or of the encoder of one."""
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    with torch.no_grad():
        out = model.eval()(input_ids=torch.tensor(how["ids"]), attention_mask=torch.tensor(how["mask"]))
    return {"output": out.last_hidden_state}


def of_transformers(folder, expected, x):
    config = json.loads((folder / "config.json").read_text())
    cls = getattr(transformers, config["architectures"][0])
    auto = transformers.AutoModelForImageClassification if "ForImage" in cls.__name__ else transformers.AutoModel
    if cls.__name__.startswith("Sam"):
        auto = cls
    if "ids" in expected["input"]:
        return of_reader(cls, folder, expected["input"])
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    assert type(model) is cls, type(model)
    missing = [k for k in info["missing_keys"] if not k.startswith(OPEN)]
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], (missing, info)
    transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    model.eval()
    with torch.no_grad():
        if cls.__name__ == "SamModel":
            point = expected["point"]
            out = model(pixel_values=x, input_points=torch.tensor([[[[point["x"], point["y"]]]]]))
            return {
                "embedding": model.get_image_embeddings(x),
                "iou_scores": out.iou_scores,
                "masks": out.pred_masks,
            }
        out = model(x)
    if hasattr(out, "logits"):
        return {"logits": out.logits}
    last = out.last_hidden_state
    if last.dim() == 4:
        return {"embedding": last}
    pyramid = config["model_type"] in ("swin", "swinv2")
    if config["model_type"] == "pvt":  # the class token is the first of the last stage
        return {"cls": last[:, 0]}
    return {"mean": last.mean(1)} if pyramid else {"cls": last[:, 0]}


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


def difference(got, expected):
    """Of the number lists that both have, the largest, each relative to its largest number."""
    apart = {}
    for key, value in got.items():
        want = expected.get(key)
        if want is None:
            continue
        want = np.array(want["values"] if isinstance(want, dict) else want, dtype=np.float64)
        have = value.numpy().astype(np.float64).ravel()[: want.size]
        apart[key] = float(np.abs(have - want).max() / np.abs(want).max())
    assert apart, f"nothing to compare: {list(got)} and {[k for k in expected if expected[k] is not None]}"
    return " ".join(apart), max(apart.values())


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
                    key, apart = difference(load(folder, expected, input_of(expected["input"])), expected)
                    bound = max(BOUND, expected.get("tolerance") or 0.0)
                    line = f"{key} {apart:.1e}" + ("" if apart <= bound else "  DIFFERS")
                    failed += apart > bound
                except Exception as error:  # any of two libraries': a line of the table, not the end of it
                    line = f"FAILED {type(error).__name__}: {str(error)[:300]}"
                    failed += 1
                print(f"{case:36} {target:13} {line}", flush=True)
    print(f"{counted} written, {refused} refused, {failed} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
