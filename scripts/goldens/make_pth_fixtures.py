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
import types
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


class EasyDict(dict):
    """Stands in for easydict's class: a dict whose entries are its attributes too."""

    __module__ = "easydict"

    def __init__(self, **entries):
        super().__init__(entries)
        self.__dict__.update(entries)


class Callback:
    """Stands in for a class that older Lightning files have as a key."""


def easydict():
    """A module that makes EasyDict picklable under the name of the real one."""
    module = types.ModuleType("easydict")
    module.EasyDict = EasyDict
    EasyDict.__qualname__ = "EasyDict"
    sys.modules["easydict"] = module


def stepped():
    """A tiny model and its optimizer after one step."""
    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        model.weight.copy_(ramp(2, 2))
        model.bias.copy_(ramp(2, start=9))
    optimizer = torch.optim.AdamW([{"params": [model.weight]}, {"params": [model.bias]}], lr=0.125)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model.weight.copy_(ramp(2, 2))
        model.bias.copy_(ramp(2, start=9))
    return model, optimizer


def recipes():
    """What training scripts of five kinds save."""
    model, optimizer = stepped()
    state = model.state_dict()
    args = argparse.Namespace(lr=0.125, layers=[1, 2], name="tiny")
    yield "lightning.pth", {
        "epoch": 3,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {"model." + name: tensor for name, tensor in state.items()},
        "callbacks": {Callback: {"best": 0.5}, "ModelCheckpoint{'monitor': 'loss.val'}": {"best_model_path": "a.ckpt"}},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {"lr": 0.125, "sizes": [1, 2], "net": EasyDict(dim=8)},
    }
    yield "ddp.pth", {"module." + name: tensor for name, tensor in state.items()}
    yield "timm.pth", {
        "epoch": 7,
        "arch": "tiny",
        "state_dict": state,
        "optimizer": optimizer.state_dict(),
        "version": 2,
        "args": args,
        "amp_scaler": {"scale": 65536.0, "growth_tracker": 12},
        "state_dict_ema": {name: tensor + 1 for name, tensor in state.items()},
        "metric": 81.5,
    }
    yield "dino.pth", {
        "student": {"module.backbone." + name: tensor for name, tensor in state.items()},
        "teacher": collections.OrderedDict(("backbone." + name, tensor + 2) for name, tensor in state.items()),
        "optimizer": optimizer.state_dict(),
        "epoch": 100,
        "args": args,
        "dino_loss": {"center": ramp(1, 4).float()},
    }
    yield "swa.pth", torch.optim.swa_utils.AveragedModel(model).state_dict()
    tensor = ramp(2).float()
    tied = {"w": tensor}
    deep = {"w": ramp(3).float()}
    for level in range(40):
        deep = {"d": deep, "w": tensor} if level == 38 else {"d": deep}
    yield "odd_tree.pth", {
        "a": tied,
        "b": tied,
        "c": collections.defaultdict(list, {"again": tensor, 5: {"w": ramp(2, start=1).float()}}),
        "x.y": ramp(2, start=2).float(),
        "x": {"y": ramp(2, start=3).float(), "z": [ramp(1).float(), (ramp(1, start=4).float(), 7)]},
        "k" * 1100: tensor,
        (1, 2): tensor,
        "deep": deep,
    }
    yield "one_tensor.pth", ramp(2).float()


def foreign_types():
    """One readable tensor among those of types that no model here computes with."""
    dense = ramp(2, 3).float()
    return {
        "sparse_coo": dense.to_sparse(),
        "sparse_csr": dense.to_sparse_csr(),
        "quantised": torch.quantize_per_tensor(dense, 0.25, 0, torch.quint8),
        "nested": torch.nested.nested_tensor([ramp(2).float(), ramp(3).float()]),
        "complex": torch.zeros(2, 2, dtype=torch.complex64),
        "float8": torch.zeros(4, dtype=torch.float8_e5m2),
        "uint16": torch.zeros(3, dtype=torch.uint16),
        "meta": torch.zeros(2, 5, device="meta"),
        "nine_axes": ramp(1, 1, 1, 1, 1, 1, 1, 2, 3).float(),
        "w": dense,
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

    easydict()
    for name, state in recipes():
        torch.save(state, folder / name)

    small = {"a": ramp(2).float(), "b": ramp(3, start=2).half()}
    torch.save(small, folder / "small.pth")
    torch.save(small, folder / "small_legacy.pth", _use_new_zipfile_serialization=False)
    torch.serialization.set_crc32_options(False)
    torch.save(small, folder / "small_no_sums.pth")
    torch.serialization.set_crc32_options(True)
    big_endian(folder / "small.pth", folder / "small_big_endian.pth", {"0": 4, "1": 2})
    torch.save({"encoder": {"a": small["a"], "parts": [small["b"]]}, "note": "nested"}, folder / "nested.pth")
    torch.save(torch.nn.Linear(2, 2), folder / "whole_module.pth")
    torch.save(foreign_types(), folder / "foreign_types.pth")
    torch.save(foreign_types(), folder / "foreign_types_legacy.pth", _use_new_zipfile_serialization=False)

    dense = {name: tensor.contiguous() for name, tensor in kinds().items() if name != "parameter"}
    save_file({name: tensor.clone() for name, tensor in dense.items()}, folder / "kinds.safetensors",
              metadata={"format": "pt", "note": "caf\u00e9"})
    foreign = foreign_types()
    save_file({name: foreign[name] for name in ("complex", "float8", "uint16", "nine_axes", "w")},
              folder / "foreign_types.safetensors")


if __name__ == "__main__":
    main()
