#!/usr/bin/env python3
"""Writes the oracle files of ViTDet (tests/data/oracle/README.md describes them).

    python3 scripts/goldens/make_vitdet.py tests/data/oracle/zoo        # torch, transformers 5.24.0

The backbone is transformers' VitDetModel, in a picture of another size than its tables are made for. The pyramid, which
transformers has not, is written out here with torch's layers under detectron2's names.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from torch import nn

from make_localvit_gradients import formula

LOW = 300.0
SIZES = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "mlp_ratio": 2, "patch_size": 8,
         "image_size": 64, "pretrain_image_size": 48, "window_size": 3, "window_block_indices": [0, 2],
         "residual_block_indices": [1], "use_relative_position_embeddings": True}
INPUT = (1, 3, 72, 56)  # a grid of 9 x 7: windows of 3 are padded on one axis
BUILD = {"img_size": [64, 64], "pretrain_size": [48, 48], "input_size": list(INPUT[2:]), "patch_size": [8, 8], "in_chans": 3,
         "dim": 24, "depth": 4, "heads": 3, "window": [3, 3], "window_blocks": [0, 2], "residual_blocks": [1],
         "mlp_ratio": 2, "qkv_bias": "full", "act": "gelu", "norm_eps": 1e-6, "absolute_pos": True, "rel_pos": True,
         "in_layout": "NCHW", "out_layout": "NCHW"}


class ChannelNorm(nn.LayerNorm):
    """Over the channels of each place of (B, C, H, W)."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NormedConv(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = ChannelNorm(outputs, eps=1e-6)

    def forward(self, x):
        return self.norm(super().forward(x))


class Pyramid(nn.Module):
    """A backbone `net`, and simfp_2 to simfp_5 of its last map."""

    def __init__(self, net, width, channels):
        super().__init__()
        up = lambda inputs: nn.ConvTranspose2d(inputs, inputs // 2, 2, 2)
        before = {2: [up(width), ChannelNorm(width // 2, eps=1e-6), nn.GELU(), up(width // 2)], 3: [up(width)], 4: [],
                  5: [nn.MaxPool2d(2, 2)]}
        self.net = net
        for s, layers in before.items():
            inputs = width // {2: 4, 3: 2}.get(s, 1)
            setattr(self, f"simfp_{s}", nn.Sequential(*layers, NormedConv(inputs, channels, 1),
                                                      NormedConv(channels, channels, 3)))

    def forward(self, x):
        x = self.net(x).last_hidden_state
        out = {f"p{s}": getattr(self, f"simfp_{s}")(x) for s in range(2, 6)}
        return out | {"p6": out["p5"][:, :, ::2, ::2]}


def backbone():
    return transformers.VitDetModel(transformers.VitDetConfig(**SIZES))


def detectron2_name(name):
    for theirs, ours in (("net.embeddings.position_embeddings", "net.pos_embed"),
                         ("net.embeddings.projection", "net.patch_embed.proj"), ("net.encoder.layer", "net.blocks"),
                         (".attention.", ".attn.")):
        name = name.replace(theirs, ours)
    return name


def r9(x):
    return float(f"{float(x):.9g}")


def rule(name, tensor, owner, low):
    """Offset and scale: activations stay near unit variance, and every parameter has an effect."""
    if "rel_pos" in name:
        return 0.0, 0.5
    if "pos" in name and "embed" in name:
        return 0.0, r9(0.5 / low)
    if tensor.dim() == 1:
        return (r9(1 / low), r9(0.2 / low)) if name.endswith("weight") else (0.0, r9(0.1 / low))
    fan_in = tensor[0].numel()
    if isinstance(owner, nn.ConvTranspose2d):
        fan_in = tensor.shape[0]
    return 0.0, r9((3.0 / fan_in) ** 0.5)


def summary(tensor, count):
    numbers = tensor.detach().double().contiguous().numpy().reshape(-1)
    n = numbers.size
    at = range(n) if n <= count else [i * (n - 1) // (count - 1) for i in range(count)]
    return {"shape": list(tensor.shape), "norm": r9(np.linalg.norm(numbers)), "mean": r9(numbers.mean()),
            "samples": [[int(i), r9(numbers[i])] for i in at]}


def error(reference, tensor):
    """The worst sample and the norm, in units of norm / sqrt(n)."""
    numbers = tensor.detach().double().numpy().reshape(-1)
    unit = reference["norm"] / numbers.size ** 0.5
    worst = max(abs(numbers[i] - x) for i, x in reference["samples"])
    return max(worst, abs(np.linalg.norm(numbers) - reference["norm"]) / numbers.size ** 0.5) / unit


def run(model, table, picture, stages, called, dtype):
    model.to(dtype).eval()
    state = {name: formula(called(name), *numbers).to(dtype) for name, numbers in table.items()}
    model.load_state_dict(state)
    leaf = formula("input", INPUT, 0.0, picture).to(dtype).requires_grad_(True)
    shown, hooks = {}, []
    for path, module in model.named_modules():
        if path in stages:
            hooks.append(module.register_forward_hook(
                lambda _, __, y, path=path: shown.update({path: y[0] if isinstance(y, tuple) else y})))
    out = model(leaf)
    outputs = out if isinstance(model, Pyramid) else {"output": out.last_hidden_state}
    loss = sum((y * formula(f"cotangent.{name}" if i else "cotangent", y.shape).to(dtype)).sum()
               for i, (name, y) in enumerate(outputs.items()))
    model.zero_grad()
    loss.backward()
    for hook in hooks:
        hook.remove()
    return outputs, shown, {"input": leaf.grad} | {name: p.grad for name, p in model.named_parameters()}


def make(case, model, naming, called, stages, low, source, **build):
    owners = dict(model.named_modules())
    table = {name: (list(p.shape), *rule(name, p, owners.get(name.rpartition(".")[0]), low))
             for name, p in model.named_parameters()}
    picture = r9(1.7 / low)
    outputs, shown, gradients = run(model, table, picture, stages, called, torch.float64)
    first, *others = outputs
    out = {"case": case, "source": source,
           "build": {"kind": "model", "library": naming, "family": "vitdet", "kwargs": BUILD | build | {"naming": naming}},
           "config": {"image": list(INPUT[2:]), "pyramid": "of the last map; norms over channels, eps 1e-6"},
           "input": [{"name": "input", "shape": list(INPUT), "offset": 0.0, "scale": picture}],
           "output": {"name": first, **summary(outputs[first], 64)}}
    if low > 1:
        out["note"] = "low variance: layer norms see variances of about 1e-5, so epsilon matters"
    if others:
        out["extra_outputs"] = [{"name": name, **summary(outputs[name], 64)} for name in others]
    out["stages"] = [{"path": called(path), "layout": "NCHW", **summary(y, 16)} for path, y in shown.items()]
    out["dense_stages"] = []
    out["gradients"] = []
    for name, gradient in gradients.items():
        numbers = summary(gradient, 32 if name == "input" else 4)
        out["gradients"].append({"name": called(name), "norm": numbers["norm"], "samples": numbers["samples"]})
    out["zero_gradients"] = []
    out["parameters"] = [{"name": called(name), "shape": shape, "offset": offset, "scale": scale}
                         for name, (shape, offset, scale) in table.items()]
    out["parameter_count"] = sum(p.numel() for p in model.parameters())
    outputs, shown, gradients = run(model, table, picture, stages, called, torch.float32)
    worst = lambda pairs: float(f"{max(error(a, b) for a, b in pairs):.3g}")
    references = [out["output"]] + out.get("extra_outputs", [])
    out["float32_error"] = {
        "output": worst([(r, outputs[r["name"]]) for r in references]),
        "stages": worst([(r, y) for r, y in zip(out["stages"], shown.values())]),
        "gradients": worst([(r, g) for r, g in zip(out["gradients"], gradients.values())])}
    lines = []
    for key, value in out.items():
        rows = isinstance(value, list) and value and isinstance(value[0], dict)
        text = "[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]" if rows else json.dumps(value)
        lines.append(f'"{key}": {text}')
    path = pathlib.Path(sys.argv[1]) / f"{case}.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(case, path.stat().st_size, out["float32_error"])


def main():
    layers = [f"encoder.layer.{i}" for i in range(4)]
    source = f"transformers {transformers.__version__} VitDetModel"
    for suffix, low in (("", 1.0), ("_low_variance", LOW)):
        make(f"transformers_vitdet{suffix}", backbone(), "transformers", lambda name: name, ["embeddings", *layers], low,
             source, pyramid_chans=0)
    stages = [f"net.{layer}" for layer in layers] + [f"simfp_{s}" for s in range(2, 6)]
    make("vitdet_pyramid", Pyramid(backbone(), 24, 16), "detectron2", detectron2_name, stages, 1.0,
         f"{source}, and torch's layers as detectron2's SimpleFeaturePyramid has them", pyramid_chans=16,
         outputs=[f"p{s}" for s in range(2, 7)])


if __name__ == "__main__":
    main()
