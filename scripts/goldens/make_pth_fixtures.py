#!/usr/bin/env python3
"""Writes the checkpoints under tests/data/io that the tests of src/io read.

Needs torch, numpy and safetensors; made with torch 2.15 and safetensors 0.8:
    python3 -m venv /tmp/fixtures && /tmp/fixtures/bin/pip install torch numpy safetensors
    /tmp/fixtures/bin/python scripts/goldens/make_pth_fixtures.py tests/data/io
Every tensor's numbers follow from its place in the file (see `ramp`), so that the tests state them as a formula.
"""

import argparse
import collections
import io
import pathlib
import sys
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file


def ramp(*shape, start=0):
    """start, start + 1, ... in steps of 1/4, which every floating type here holds exactly."""
    count = int(np.prod(shape)) if shape else 1
    return ((torch.arange(count, dtype=torch.float64) + start) / 4).reshape(shape)


def kinds():
    """One tensor of each element type, then each kind of view."""
    base = ramp(4, 6, start=8).float()
    flat = ramp(30, start=-5).float()
    out = collections.OrderedDict()
    out["f32"] = ramp(2, 3).float()
    out["f16"] = ramp(2, 3, start=1).half()
    out["bf16"] = ramp(2, 3, start=2).bfloat16()
    out["f64"] = ramp(2, 3, start=3)
    out["i64"] = torch.arange(-3, 3).reshape(2, 3)
    out["i32"] = torch.arange(-2, 4, dtype=torch.int32)
    out["i16"] = torch.arange(-1, 5, dtype=torch.int16)
    out["i8"] = torch.tensor([-128, -1, 0, 127], dtype=torch.int8)
    out["u8"] = torch.tensor([0, 1, 200, 255], dtype=torch.uint8)
    out["bool"] = torch.tensor([True, False, True])
    out["scalar"] = torch.tensor(2.5)
    out["empty"] = torch.zeros(0, 3)
    out["transposed"] = base.t()
    out["every_second"] = base[1::2, ::3]
    out["permuted"] = ramp(2, 3, 4).half().permute(2, 0, 1)
    out["shared_head"] = flat[:10]
    out["shared_tail"] = flat[10:].reshape(4, 5)
    out["expanded"] = torch.tensor([7.0]).expand(2, 2)
    out["parameter"] = torch.nn.Parameter(ramp(3, start=4).float())
    return out


class Opaque:
    """A class that no reader knows."""

    def __init__(self):
        self.history = [1.0, 2.0]


def training_state():
    weight = ramp(2, 2).float()
    return {
        "model": {"layer.weight": weight, "layer.bias": ramp(2, start=9).float()},
        "optimizer": {"state": {0: {"exp_avg": ramp(2, 2).float()}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
        "best": 0.75,
        "arch": "tiny",
        "amp": True,
        "scaler": None,
        "accuracy": np.float64(81.5),
        "args": argparse.Namespace(lr=0.1, layers=[1, 2]),
        "extra": Opaque(),
        "where": torch.device("cpu"),
    }


def deflated(source, target):
    """The same archive with compressed entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry), zipfile.ZIP_DEFLATED)


def big_endian(source, target, widths):
    """The archive as a big-endian machine writes it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            folder, _, key = entry.filename.rpartition("/")
            if folder.endswith("/data"):
                width = widths[key]
                data = np.frombuffer(data, dtype=f"u{width}").byteswap().tobytes()
            elif key == "byteorder":
                data = b"big"
            new.writestr(zipfile.ZipInfo(entry.filename), data)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(kinds(), folder / "kinds.pth")
    torch.save(kinds(), folder / "kinds_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(kinds(), folder / "kinds_protocol4.pth", pickle_protocol=4)
    deflated(folder / "kinds.pth", folder / "kinds_deflated.pth")
    torch.save(training_state(), folder / "training_state.pth")
    torch.save(training_state(), folder / "training_state_legacy.pth", _use_new_zipfile_serialization=False)

    small = {"a": ramp(2).float(), "b": ramp(3, start=2).half()}
    torch.save(small, folder / "small.pth")
    torch.save(small, folder / "small_legacy.pth", _use_new_zipfile_serialization=False)
    big_endian(folder / "small.pth", folder / "small_big_endian.pth", {"0": 4, "1": 2})
    torch.save({"module." + name: tensor for name, tensor in small.items()}, folder / "module_prefix.pth")
    torch.save({"encoder": {"a": small["a"], "parts": [small["b"]]}, "note": "nested"}, folder / "nested.pth")
    torch.save(torch.nn.Linear(2, 2), folder / "whole_module.pth")
    torch.save({"q": torch.quantize_per_tensor(ramp(4).float(), 0.25, 0, torch.qint8)}, folder / "quantised.pth")
    torch.save({"c": torch.zeros(2, dtype=torch.complex64)}, folder / "complex.pth")
    torch.save({"e": torch.zeros(4, dtype=torch.float8_e4m3fn)}, folder / "float8.pth")

    dense = {name: tensor.contiguous() for name, tensor in kinds().items() if name != "parameter"}
    save_file({name: tensor.clone() for name, tensor in dense.items()}, folder / "kinds.safetensors",
              metadata={"format": "pt", "note": "caf\u00e9"})


if __name__ == "__main__":
    main()
