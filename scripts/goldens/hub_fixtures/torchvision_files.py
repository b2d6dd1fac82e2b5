"""Files of torchvision's Video Swin, and the same under the names of its two other libraries."""

import re

import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.video.swin_transformer import SwinTransformer3d

from .case import Case, fill, formula_input, in_float64, numbers

MADE_BY = f"torchvision {torchvision.__version__.split('+')[0]} SwinTransformer3d"
RULES = [(r"features\.(\d+)\.(\d+)\.mlp\.0\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}.mlp.fc1."),
         (r"features\.(\d+)\.(\d+)\.mlp\.3\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}.mlp.fc2."),
         (r"features\.(\d+)\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.{m[2]}."),
         (r"features\.(\d+)\.", lambda m: f"layers.{int(m[1]) // 2}.downsample.")]


def official_name(name):
    for pattern, ours in RULES:
        found = re.match(pattern, name)
        if found:
            return "backbone." + ours(found) + name[found.end():]
    return name.replace("head.", "cls_head.fc_cls.") if name.startswith("head.") else "backbone." + name


class Clip:
    """A case with one model, and its answer to clips of a size."""

    def __init__(self, root, name, shape, **arguments):
        self.case = Case(root, name)
        self.model = fill(SwinTransformer3d(**({"patch_size": [2, 4, 4], "mlp_ratio": 2.0, "num_classes": 3} | arguments)),
                          name, 0.3)
        self.shape = shape
        self.official = {official_name(key): tensor for key, tensor in self.model.state_dict().items()}

    def loads(self, about, path, prefix, made_by=MADE_BY):
        logits = in_float64(self.model, formula_input(self.shape))
        self.case.loads(about, made_by, path, "video_swin", prefix, self.shape, num_classes=logits.shape[1],
                        answer="one_class", logits=numbers(logits)["values"])


def make(root):
    clip = Clip(root, "torchvision_swin3d", [1, 3, 5, 18, 21], embed_dim=12, depths=[2, 1], num_heads=[2, 4],
                window_size=[2, 3, 3])
    save_file(clip.model.state_dict(), clip.case.folder / "swin3d.safetensors")
    clip.loads("clips of 5 frames of 18 x 21: frames and sides are padded to patches and to windows, which are shifted",
               "swin3d.safetensors", "")

    clip = Clip(root, "video_swin_official", [1, 3, 7, 24, 20], embed_dim=12, depths=[2, 1], num_heads=[2, 4],
                window_size=[2, 4, 4])
    torch.save({"meta": {"epoch": 30, "iter": 450000}, "state_dict": clip.official}, clip.case.folder / "epoch_30.pth")
    clip.loads("as mmaction saves it; windows of 4 x 4 on 3 x 3 tokens read the corner of their table", "epoch_30.pth",
               "backbone.", f"{MADE_BY}; names by hand")

    clip = Clip(root, "video_swin_mmaction2", [1, 3, 4, 32, 32], embed_dim=4, depths=[1, 1, 1, 1],
                num_heads=[1, 1, 2, 4], window_size=[2, 2, 2], mlp_ratio=1.0)
    state = {key.replace("backbone.norm.", "backbone.norm3."): tensor for key, tensor in clip.official.items()}
    torch.save({"meta": {"epoch": 30}, "state_dict": state}, clip.case.folder / "epoch_30.pth")
    clip.loads("mmaction2 calls the last norm by its stage", "epoch_30.pth", "backbone.", f"{MADE_BY}; names by hand")
