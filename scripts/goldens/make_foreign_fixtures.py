#!/usr/bin/env python3
"""Writes files of other kinds under tests/data/io: NumPy's .npz, stored and deflated, and a TorchScript archive.

Needs torch and numpy; made with torch 2.15 and numpy 2.4:
    venv/bin/python scripts/goldens/make_foreign_fixtures.py tests/data/io
"""

import pathlib
import sys

import numpy as np
import torch


def ramp(*shape, dtype="<f4"):
    """0, 1, 2, ... in steps of 1/4."""
    return (np.arange(int(np.prod(shape))) / 4).reshape(shape).astype(dtype)


def main():
    folder = pathlib.Path(sys.argv[1])
    arrays = {
        "Transformer/encoderblock_0/LayerNorm_0/bias": ramp(3),
        "embedding/kernel": ramp(2, 2, 3, 4),
        "half": ramp(2, 3, dtype="<f2"),
        "double": ramp(2, dtype="<f8"),
        "long": np.arange(-2, 2),
        "bytes": np.array([0, 255], dtype=np.uint8),
        "flags": np.array([True, False]),
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "fortran": np.asfortranarray(ramp(2, 3)),
        "vector_f": np.asfortranarray(ramp(4)),
        "big_endian": ramp(2, dtype=">f4"),
        "complex": np.zeros(2, dtype=np.complex64),
        "record": np.zeros(2, dtype=[("a", "<f4"), ("b", "<i8")]),
        "nine_axes": ramp(1, 1, 1, 1, 1, 1, 1, 2, 1),
    }
    np.savez(folder / "arrays.npz", **arrays)
    np.savez_compressed(folder / "arrays_deflated.npz", **arrays)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "script.pt")


if __name__ == "__main__":
    main()
