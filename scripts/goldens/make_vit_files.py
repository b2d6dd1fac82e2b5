#!/usr/bin/env python3
"""Writes oracle files of DeiT III, of what EVA-02 and RoPE-ViT have beside shared/oracle's own, and of DiNAT.

    python scripts/goldens/make_vit_files.py MAKE_ZOO_DIR tests/data/oracle/zoo [CASE ...]

MAKE_ZOO_DIR holds the make_zoo.py that the other files of that folder come from: weights by formula, numbers in float64
from the library's own model. DiNAT's class needs NATTEN, whose releases have no relative bias any more: its two functions
are written out here by their definition, one query at a time.
"""

import sys

import torch

STAGES = ["patch_embed|NLC", "pos_drop|NLC", "blocks.{0,1}|NLC"]
SMALL = {"dim": 96, "depth": 2, "heads": 3, "num_classes": 10}
TINY = {"embed_dim": 96, "depth": 2, "num_heads": 3, "num_classes": 10}
EVA = {**SMALL, "pos_embed": "learned", "pos_embed_prefix": True}
SUB = {**EVA, "mlp_norm": True, "mlp_hidden": 256}
CLS = {"pool": "cls", "final_norm": "norm"}
# name: factory, family, picture, how it is built, its norm's stage, what `build` has beyond the family's usual
VITS = {
    "timm_deit_tiny_patch16_224": ("deit_tiny_patch16_224", "deit", (224, 224), {}, "norm|NLC",
                                   {"dim": 192, "depth": 12, "heads": 3, "num_classes": 1000}),
    "timm_deit3_small_patch16_224": ("deit3_small_patch16_224", "deit", (224, 224), {}, "norm|NLC",
                                     {"dim": 384, "depth": 12, "heads": 6, "num_classes": 1000, "layer_scale": True,
                                      "pos_embed_prefix": False}),
    "timm_eva02_sub_norms_at_98x70": ("eva02_base_patch14_448", "eva02", (98, 70), TINY, "fc_norm|NC", SUB),
    "timm_eva02_clip_at_64x96": ("eva02_base_patch16_clip_224", "eva02", (64, 96), TINY, "norm|NLC",
                                 {**SUB, **CLS, "attn_norm": True, "patch_size": [16, 16]}),
    "timm_eva02_post_norm_at_84": ("eva02_enormous_patch14_clip_224", "eva02", (84, 84), {**TINY, "mlp_ratio": 2.5},
                                   "norm|NLC", {**EVA, **CLS, "mlp": "plain", "act": "gelu", "mlp_ratio": 2.5,
                                                "block_norm": "post", "rope": "none", "rope_ref_grid": [0, 0]}),
    "timm_vit_rope_mixed_ape_at_64x96": ("vit_small_patch16_rope_mixed_ape_224", "vit_rope", (64, 96), TINY, "norm|NLC",
                                         {**SMALL, "rope": "mixed", "temperature": 10, "pos_embed": "learned",
                                          "pos_embed_prefix": False}),
    "timm_vit_rope_reg4_at_96x64": ("vit_betwixt_patch16_rope_reg4_gap_256", "vit_rope", (96, 64), TINY, "fc_norm|NC",
                                    {**SMALL, "rope": "axial", "temperature": 10000, "rope_order": "yx",
                                     "rope_ref_grid": [16, 16], "prefix_tokens": ["reg_token"], "registers": 4,
                                     "qkv_bias": "q_v", "pool": "mean_patches", "final_norm": "fc_norm"}),
}


def add_vit(zoo, name):
    factory, family, size, kw, norm, args = VITS[name]
    whole = size == (224, 224)
    stages = [*STAGES[:2], "blocks.{0,3,6,9,11}|NLC"] if whole else STAGES
    zoo.timm_case(name, factory, (1, 3, *size), [*stages, norm], {}, kw={} if whole else {"img_size": size, **kw},
                  model=family, args=args, rules=[("*rope.freqs", 0.0, 0.5)])


def first_key(i, length, kernel, dilation):
    """The first of the `kernel` places, `dilation` apart, that place i sees: around it, moved inwards at a border."""
    places = list(range(i % dilation, length, dilation))
    return places[min(max(places.index(i) - kernel // 2, 0), len(places) - kernel)]


def neighbours(length, kernel, dilation):
    """Places that each place of an axis sees, and what they read of the bias there: (length, kernel) each."""
    seen = torch.tensor([[first_key(i, length, kernel, dilation) + t * dilation for t in range(kernel)]
                         for i in range(length)])
    return seen, (seen - torch.arange(length)[:, None]) // dilation + kernel - 1


def windows(x, kernel, dilation):
    """x (B, H, rows, columns, D) -> of each query what it sees: (B, H, rows, columns, kernel * kernel, D)."""
    down, _ = neighbours(x.shape[2], kernel, dilation)
    across, _ = neighbours(x.shape[3], kernel, dilation)
    return x[:, :, down[:, None, :, None], across[None, :, None, :]].flatten(4, 5)


def heads_first(x):
    """transformers 5 hands over (B, columns, rows, H, D); the definition has (B, H, rows, columns, D)."""
    return x.transpose(1, 2).permute(0, 3, 1, 2, 4)


def scores(q, k, rpb, kernel, dilation):
    q, k = heads_first(q), heads_first(k)
    down, across = (neighbours(side, kernel, dilation)[1] for side in q.shape[2:4])
    bias = rpb[:, down[:, None, :, None], across[None, :, None, :]].flatten(3, 4)
    return torch.einsum("bhyxd,bhyxkd->bhyxk", q, windows(k, kernel, dilation)) + bias


def values(weights, v, kernel, dilation):
    return torch.einsum("bhyxk,bhyxkd->bhyxd", weights, windows(heads_first(v), kernel, dilation))


def dinat_class():
    import transformers
    from transformers.models.dinat import modeling_dinat

    modeling_dinat.natten2dqkrpb, modeling_dinat.natten2dav = scores, values
    modeling_dinat.requires_backends = lambda *_: None
    return transformers


def add_dinat(zoo, name):
    size, dilations = (90, 70), [[1, 3], [1, 2], [1, 1]]  # grids 23 x 18, 12 x 9 (padded), 6 x 5
    keys = {"depths": [2, 2, 2], "dim": 16, "heads": [2, 2, 4], "kernel": 5, "mlp_ratio": 2.0, "num_classes": 10}

    def build():
        hf = dinat_class()
        config = hf.DinatConfig(embed_dim=16, depths=keys["depths"], num_heads=keys["heads"], kernel_size=5,
                                dilations=dilations, mlp_ratio=2.0, num_labels=10)
        kwargs = {"img_size": list(size), "input_size": list(size), "in_chans": 3, "in_layout": "NCHW", "out_layout": "NC",
                  **keys, "dilations": [d for stage in dilations for d in stage], "qkv_bias": "full", "act": "gelu",
                  "norm_eps": 1e-5, "patch_size": 4, "pool": "mean", "layer_scale": False, "naming": "transformers"}
        return zoo.Case(
            source=f"transformers {hf.__version__} DinatForImageClassification, NATTEN's functions by definition",
            config={}, model=hf.DinatForImageClassification(config), inputs={"input": (1, 3, *size)},
            stages=["dinat.embeddings|NHWC", "dinat.encoder.levels.{0,1,2}.layers.{0,1}|NHWC",
                    "dinat.encoder.levels.{0,1}|NHWC", "dinat.layernorm|NHWC"],
            forward=lambda m, i: m(i["input"]).logits, rules=[("*rpb", 0.0, 0.5)],
            build={"kind": "model", "library": "transformers", "family": "nat", "factory": "DinatForImageClassification",
                   "kwargs": kwargs})
    zoo.CASES[name] = build


def main():
    sys.path.insert(0, sys.argv[1])
    import make_zoo as zoo

    torch.set_num_threads(1)
    for name in sys.argv[3:] or [*VITS, "transformers_dinat_at_90x70"]:
        (add_vit if name in VITS else add_dinat)(zoo, name)
        made = zoo.make(name)
        path = f"{sys.argv[2]}/{name}.json"
        zoo.dump(made, path)
        made["float32_error"] = zoo.check(path)
        zoo.dump(made, path)
        print(name, made["parameter_count"], made["float32_error"], flush=True)


if __name__ == "__main__":
    main()
