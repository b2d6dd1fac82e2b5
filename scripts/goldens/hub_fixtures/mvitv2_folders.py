"""MViTv2 of timm, and the official repository's names."""

import dataclasses

import timm
import torch
from timm.models import mvitv2

from . import timm_folders

SIZES = {"depths": (1, 2, 1, 1), "embed_dim": (8, 12, 16, 24), "num_heads": (1, 2, 2, 3), "mlp_ratio": 1.5}


def official_names(state, depths):
    """timm's tensors under the names of facebookresearch/mvit, whose blocks count on."""
    out = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if parts[0] == "stages":
            parts = ["blocks", str(sum(depths[:int(parts[1])]) + int(parts[3])), *parts[4:]]
        name = ".".join(parts).replace("shortcut_proj_attn", "proj").replace("shortcut_proj_mlp", "proj")
        out[name.replace("head.fc", "head.projection")] = tensor
    assert len(out) == len(state)
    return out


def make(root):
    usual = dict(mvitv2.model_cfgs)

    def tiny(architecture):
        """timm's configurations are no arguments."""
        cfg = dataclasses.replace(usual[architecture], stride_kv=None, **SIZES)
        mvitv2.model_cfgs[architecture] = cfg

    for architecture in ("mvitv2_tiny", "mvitv2_large", "mvitv2_small_cls"):
        tiny(architecture)
    arguments = {"num_classes": 3, "img_size": 64}
    Folder = timm_folders.Folder
    made = Folder(root, "timm_mvitv2", "mvitv2_tiny", 64, quiet=0.3, **arguments)
    made.classifier("widths that grow in the attention; the tensors tell depths, heads and widths", "mvitv2")
    Folder(root, "timm_mvitv2_mlp", "mvitv2_large", 64, quiet=0.3, **arguments).classifier(
        "widths that grow in the MLP before", "mvitv2")
    Folder(root, "timm_mvitv2_cls", "mvitv2_small_cls", 64, quiet=0.3, **arguments).classifier(
        "a class token, which has no position and is not pooled", "mvitv2")

    state = made.model.float().state_dict()
    case = timm_folders.Case(root, "mvitv2_official")
    torch.save({"model_state": official_names(state, SIZES["depths"]), "epoch": 3}, case.folder / "tiny.pyth")
    larger = timm.create_model("mvitv2_tiny", num_classes=3, img_size=96).eval()
    larger.load_state_dict(mvitv2.checkpoint_filter_fn(dict(state), larger))
    shape = [1, 3, 96, 96]
    logits = timm_folders.in_float64(larger, timm_folders.formula_input(shape))
    case.loads("timm's timm_mvitv2 under the official names, for pictures of 96: timm resizes the tables of 64",
               f"{timm_folders.MADE_BY} MultiScaleVit, renamed", "tiny.pyth", "mvitv2", "", shape, num_classes=3,
               answer="one_class", logits=timm_folders.numbers(logits)["values"])
    mvitv2.model_cfgs.update(usual)
