"""Bare files in the names of EVA-02's, RoPE-ViT's and DeiT III's own code, and DiNAT's folders."""

import timm
import torch
import transformers as hf
from make_vit_files import dinat_class
from safetensors.torch import save_file
from timm.models.eva import checkpoint_filter_fn

from .case import Case, fill, formula_input, in_float64, numbers
from .timm_folders import MADE_BY

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 1, "num_classes": 3}
# Of the repositories: ours is what timm's loader makes of it.
EVA = {"attn.q_proj.bias": "attn.q_bias", "attn.v_proj.bias": "attn.v_bias", "mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2",
       "mlp.fc2": "mlp.w3", "mlp.norm": "mlp.ffn_ln", "attn.norm": "attn.inner_attn_ln"}


def written(root, name, architecture, family, about, change, check=None, prefix="", **more):
    case = Case(root, name)
    model = fill(timm.create_model(architecture, **(SMALL | more)), name)
    state = change({key: tensor.clone() for key, tensor in model.state_dict().items()})
    if check is not None:
        again = check(state, timm.create_model(architecture, **(SMALL | more)))
        assert all(torch.equal(again[key], tensor) for key, tensor in model.state_dict().items()), name
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, case.folder / "model.safetensors")
    shape = [1, 3, 16, 16]
    logits = in_float64(model, formula_input(shape))
    case.loads(about, f"{MADE_BY} {type(model).__name__} {architecture}, renamed by hand", "model.safetensors", family, prefix,
               shape, num_classes=3, answer="one_class", logits=numbers(logits)["values"])


def renamed(words):
    def change(state):
        out = {}
        for key, tensor in state.items():
            for ours, theirs in words.items():
                key = key.replace(ours, theirs)
            out[key] = tensor
        return out
    return change


def with_buffers(state, prefix=""):
    """As EVA-02's code stores them: one in the whole, one in each block."""
    out = {prefix + key: tensor for key, tensor in state.items()}
    for place in ("", "blocks.0.attn.", "blocks.1.attn."):
        for kind in ("cos", "sin"):
            out[f"{prefix}{place}rope.freqs_{kind}"] = torch.zeros(16, 24)
    return out


def naver(state):
    out = {"freqs" if key == "rope.freqs" else key: tensor for key, tensor in state.items()}
    out["freqs"] = out["freqs"].flatten(2)
    return out | {"freqs_t_x": torch.arange(16.0) % 4, "freqs_t_y": torch.arange(16.0) // 4}


def repositories(root):
    written(root, "eva02_repository", "eva02_base_patch14_448", "eva02",
            "EVA-02's own names: q and v have their bias beside the product; SwiGLU in w1, w2, w3; stored angles",
            lambda state: with_buffers(renamed(EVA)(state)), checkpoint_filter_fn)
    written(root, "eva02_repository_whole", "eva02_tiny_patch14_224", "eva02",
            "EVA-02's own names of its small models: qkv, and SwiGLU in w12 and w3",
            lambda state: with_buffers(renamed({"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3"})(state)), checkpoint_filter_fn)
    written(root, "eva02_clip_repository", "eva02_large_patch14_clip_224", "eva02",
            "EVA-02-CLIP's own names of its image tower", lambda state: with_buffers(renamed(EVA)(state), "visual."),
            checkpoint_filter_fn, prefix="visual.")
    written(root, "rope_vit_repository", "vit_small_patch16_rope_mixed_224", "vit_rope",
            "naver-ai's names: freqs with the heads' channels in one axis, stored coordinates", naver)
    written(root, "deit3_repository", "deit3_small_patch16_224", "deit", "Meta's names of LayerScale",
            renamed({"ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}))


def dinat(root):
    dinat_class()
    for name, wraps, about in (("transformers_dinat", hf.DinatForImageClassification, "with gaps, in a padded grid too"),
                               ("transformers_dinat_backbone", hf.DinatModel, "the model without its head")):
        case = Case(root, name)
        config = hf.DinatConfig(embed_dim=8, depths=[2, 1], num_heads=[2, 4], kernel_size=3, dilations=[[1, 3], [2]],
                                mlp_ratio=1.5, num_labels=3)
        model = fill(wraps(config), name, 0.3)
        model.save_pretrained(case.folder / "model")
        shape, made_by = [1, 3, 36, 28], f"transformers {hf.__version__} {wraps.__name__}, NATTEN's functions by definition"
        answer = in_float64(model, formula_input(shape))
        if "logits" in answer:
            case.loads(about, made_by, "model", "nat", "dinat.", shape, num_classes=3, answer="one_class",
                       logits=numbers(answer.logits)["values"])
        else:
            case.loads(about, made_by, "model", "nat", "", shape, mean=numbers(answer.pooler_output))


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    repositories(root)
    dinat(root)
