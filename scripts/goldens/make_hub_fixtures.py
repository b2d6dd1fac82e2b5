#!/usr/bin/env python3
"""Writes tests/data/hub: tiny folders and files of the official forms, and what they must give.

    python3 -m venv /tmp/fixtures && /tmp/fixtures/bin/pip install torch torchvision transformers==5.24.0 timm==1.0.31 \
        segment_anything safetensors
    /tmp/fixtures/bin/python scripts/goldens/make_hub_fixtures.py tests/data/hub [GROUP ...]

    /tmp/older/bin/pip install torch transformers==4.30.2 safetensors        # where Transformer-XL still is
    /tmp/older/bin/python scripts/goldens/make_hub_fixtures.py tests/data/hub transfo_xl_folders

A group is a module of hub_fixtures/. Every case is seeded by its own name, so that one group can be made alone.
"""

import importlib
import pathlib
import sys

import torch

GROUPS = [
    "transformers_folders",
    "training_files",
    "refused",
    "timm_folders",
    "pvt_folders",
    "levit_folders",
    "mvitv2_folders",
    "vitdet_folders",
    "xcit_folders",
    "byoanet_folders",
    "rotary_files",
    "torchvision_files",
    "sequence_folders",
    "cvt_folders",
    "readme",
]


def main():
    torch.set_num_threads(1)
    root = pathlib.Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    for group in sys.argv[2:] or GROUPS:
        importlib.import_module(f"hub_fixtures.{group}").make(root)


if __name__ == "__main__":
    main()
