"""LeViT of transformers, timm and the official repository's names; CaiT of timm."""

import torch
import transformers as hf

from . import timm_folders
from .transformers_folders import BIRDS, Folder, labels

SIZES = {"image_size": 48, "hidden_sizes": [8, 12, 16], "depths": [1, 2, 1], "num_attention_heads": [2, 3, 2],
         "key_dim": [4, 4, 4]}
TIMM = {"embed_dim": (8, 12, 16), "depth": (2, 1, 1), "num_heads": (2, 3, 2), "key_dim": 4}
CAIT = {"patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 3, "mlp_ratio": 1.5}


def official_names(model):
    """timm's tensors under the names of facebookresearch/LeViT: one flat list, attention and MLP by turns."""
    state, modules, out = model.state_dict(), [], {}
    for s, stage in enumerate(model.stages):
        if s > 0:
            at = f"stages.{s}.downsample"
            modules += [(f"{at}.attn_downsample", "", {"q.ln": "q.1", "proj.ln": "proj.1"}),
                        (f"{at}.mlp", ".m", {"ln1": "0", "ln2": "2"})]
        for b in range(len(stage.blocks)):
            at = f"stages.{s}.blocks.{b}"
            modules += [(f"{at}.attn", ".m", {"proj.ln": "proj.1"}), (f"{at}.mlp", ".m", {"ln1": "0", "ln2": "2"})]
    for name, tensor in state.items():
        leaf = name.replace(".linear.", ".c.")
        if name.startswith("stem."):
            k = int(name[len("stem.conv")])
            out[leaf.replace(f"stem.conv{k}", f"patch_embed.{2 * k - 2}")] = tensor
        elif name.startswith("head"):
            out[name.replace(".linear.", ".l.")] = tensor
        else:
            number, (at, m, words) = next((n, x) for n, x in enumerate(modules) if name.startswith(x[0] + "."))
            leaf = leaf[len(at) + 1:]
            for theirs, ours in words.items():
                leaf = ours + leaf[len(theirs):] if leaf.startswith(theirs + ".") else leaf
            out[f"blocks.{number}{m}.{leaf}"] = tensor
    for number, (at, m, _) in enumerate(modules):
        if at.endswith(("attn", "attn_downsample")):
            out[f"blocks.{number}{m}.attention_bias_idxs"] = model.get_submodule(at).attention_bias_idxs
    assert len(out) == len(state) + sum("attention_biases" in name for name in state)
    return out


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    made = Folder(root, "levit_teacher",
                  hf.LevitForImageClassificationWithTeacher(hf.LevitConfig(**SIZES, **labels(BIRDS))), 0.3).checked()
    type(made.model).from_pretrained(made.path).save_pretrained(made.path)
    hf.LevitImageProcessorPil().save_pretrained(made.path)
    made.classifier("two heads, averaged; saved twice: down_ops has an empty entry of each save", "levit", "levit.",
                    names=BIRDS)
    Folder(root, "levit_classifier", hf.LevitForImageClassification(hf.LevitConfig(
        **SIZES | {"image_size": 32, "depths": [2, 1, 1], "attention_ratio": [1, 1, 1]}, num_labels=3)), 0.3
           ).checked().classifier("one head; values as wide as keys", "levit", "levit.")
    Folder(root, "levit_headless", hf.LevitModel(hf.LevitConfig(**SIZES)), 0.3).checked().headless(
        "no head", "levit", "", 0)

    timm = timm_folders.Folder
    made = timm(root, "timm_levit", "levit_128s", 48, quiet=0.3, num_classes=3, img_size=48, **TIMM)
    made.classifier("a grid of 3 x 3, then 2 x 2, then 1 x 1", "levit")
    timm(root, "timm_levit_conv", "levit_conv_128s", 32, quiet=0.3, num_classes=3, img_size=32, **TIMM).classifier(
        "products as 1x1 convolutions", "levit")
    model = made.model.float()
    made = timm_folders.Case(root, "levit_official")
    torch.save({"model": official_names(model), "epoch": 3}, made.folder / "checkpoint.pth")
    shape = [1, 3, 48, 48]
    logits = timm_folders.in_float64(model, timm_folders.formula_input(shape))
    made.loads("timm's timm_levit under the official names, with tables of indices",
               f"{timm_folders.MADE_BY} LevitDistilled, renamed", "checkpoint.pth", "levit", "", shape, num_classes=3,
               answer="one_class", logits=timm_folders.numbers(logits)["values"])

    timm(root, "timm_cait", "cait_xxs24_224", 16, num_classes=3, img_size=16, **CAIT).classifier(
        "three heads, which the mixing matrices tell", "cait")
    timm(root, "timm_cait_headless", "cait_xxs24_224", 20, num_classes=0, img_size=20, **CAIT).headless(
        "num_classes 0: no head; a grid of 5 x 5", "cait")
