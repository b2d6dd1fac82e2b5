"""XCiT of timm, and the official repository's names."""

import torch

from . import timm_folders

SIZES = {"num_classes": 3, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 1.5}


def official_names(state):
    """timm's tensors under the names of facebookresearch/xcit."""
    out = {}
    for name, tensor in state.items():
        if ".attn.q." in name:
            parts = [state[name.replace(".attn.q.", f".attn.{part}.")] for part in "qkv"]
            out[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
        elif ".attn.k." not in name and ".attn.v." not in name:
            out[name.replace("pos_embed.", "pos_embeder.")] = tensor
    return out


def make(root):
    Folder = timm_folders.Folder
    Folder(root, "timm_xcit", "xcit_nano_12_p16_224", 48, quiet=0.3, img_size=48, **SIZES).classifier(
        "class blocks that norm the class token alone", "xcit")
    made = Folder(root, "timm_xcit_p8", "xcit_tiny_12_p8_384", 44, quiet=0.3, img_size=48, **SIZES)
    made.classifier("patches of 8, a picture of 44: five and a half; class blocks that norm all tokens", "xcit")
    case = timm_folders.Case(root, "xcit_official")
    torch.save({"model": official_names(made.model.float().state_dict()), "epoch": 3}, case.folder / "checkpoint.pth")
    logits = timm_folders.in_float64(made.model, made.picture)
    case.loads("timm's timm_xcit_p8 under the official names, told from the tensors: all but nano norm all tokens",
               f"{timm_folders.MADE_BY} Xcit, renamed", "checkpoint.pth", "xcit", "", made.shape, num_classes=3,
               answer="one_class", logits=timm_folders.numbers(logits)["values"])
