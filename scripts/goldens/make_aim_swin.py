#!/usr/bin/env python3
"""Writes oracle files of AIM's Swin adapter.

    python3 scripts/goldens/make_aim_swin.py OUT_FOLDER

The official class is not at hand: the model below is written out with torch from a description of it (two passes through
one attention, adapters, half the adapter beside the MLP), apart from Locant's code. Grids here are whole windows, since the
description says nothing of padding. Weights are made by the formula of tests/data/oracle/README.md.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from make_localvit_gradients import formula

NOTE = ("made by scripts/goldens/make_aim_swin.py from a description of the official class, not from its code: this file "
        "shows that two writings of the description agree")
LOW = 300.0


def r9(x):
    return float(f"{float(x):.9g}")


class Adapter(nn.Module):
    def __init__(self, width, skip):
        super().__init__()
        self.D_fc1, self.D_fc2, self.skip = nn.Linear(width, width // 4), nn.Linear(width // 4, width), skip

    def forward(self, x):
        y = self.D_fc2(F.gelu(self.D_fc1(x)))
        return x + y if self.skip else y


class Attention(nn.Module):
    def __init__(self, width, heads, window, steps):
        super().__init__()
        self.heads = heads
        side = torch.arange(window)
        rows, columns = [t.reshape(-1) for t in torch.meshgrid(side, side, indexing="ij")]
        offset = lambda t: t[:, None] - t[None, :] + window - 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", offset(rows) * (2 * window - 1) + offset(columns))
        if steps:
            time = torch.arange(steps)
            self.temporal_position_bias_table = nn.Parameter(torch.zeros(2 * steps - 1, heads))
            self.register_buffer("t_relative_coords", (time[:, None] - time[None, :] + steps - 1).reshape(-1))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, bias=None, mask=None):
        """x (groups, tokens, C); bias (heads, tokens, tokens); mask (windows, tokens, tokens), windows the inner axis"""
        G, N, C = x.shape
        q, k, v = self.qkv(x).reshape(G, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (C // self.heads) ** -0.5
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            W = mask.shape[0]
            scores = (scores.reshape(G // W, W, self.heads, N, N) + mask[:, None]).reshape(G, self.heads, N, N)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(G, N, C))

    def window_bias(self):
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def time_bias(self, T):
        if not hasattr(self, "t_relative_coords"):
            return None
        return self.temporal_position_bias_table[self.t_relative_coords].reshape(T, T, -1).permute(2, 0, 1)


class Block(nn.Module):
    def __init__(self, width, heads, window, shift, steps, temporal, eps):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, window, steps if temporal else 0)
        self.window, self.shift, self.temporal = window, shift, temporal
        if temporal:
            self.T_Adapter = Adapter(width, skip=False)
        self.S_Adapter2, self.S_Adapter = Adapter(width, skip=True), Adapter(width, skip=False)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def mask(self, H, W):
        if not self.shift:
            return None
        region = torch.zeros(H, W)
        cuts = lambda n: [slice(0, n - self.window), slice(n - self.window, n - self.shift), slice(n - self.shift, n)]
        for i, rows in enumerate(cuts(H)):
            for j, columns in enumerate(cuts(W)):
                region[rows, columns] = 3 * i + j
        w = self.window
        region = region.reshape(H // w, w, W // w, w).transpose(1, 2).reshape(-1, w * w)
        return torch.where(region[:, :, None] == region[:, None, :], 0.0, -100.0).to(self.norm1.weight.dtype)

    def forward(self, x):
        """x (B, T, H, W, C)"""
        B, T, H, W, C = x.shape
        if self.temporal:
            y = self.norm1(x).permute(0, 2, 3, 1, 4).reshape(B * H * W, T, C)
            y = self.T_Adapter(self.attn(y, self.attn.time_bias(T)))
            x = x + y.reshape(B, H, W, T, C).permute(0, 3, 1, 2, 4)
        w = self.window
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (2, 3))
        y = y.reshape(B * T, H // w, w, W // w, w, C).transpose(2, 3).reshape(-1, w * w, C)
        y = self.S_Adapter2(self.attn(y, self.attn.window_bias(), self.mask(H, W)))
        y = y.reshape(B, T, H // w, W // w, w, w, C).transpose(3, 4).reshape(B, T, H, W, C)
        x = x + torch.roll(y, (self.shift, self.shift), (2, 3))
        y = self.norm2(x)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](y))) + 0.5 * self.S_Adapter(y)


class Merging(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width, eps=eps), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        four = [x[:, :, 0::2, 0::2], x[:, :, 1::2, 0::2], x[:, :, 0::2, 1::2], x[:, :, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(four, -1)))


class Patches(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.proj = nn.Conv3d(k["in_chans"], k["dim"], k["patch_size"], k["patch_size"])
        self.norm = nn.LayerNorm(k["dim"], eps=k["norm_eps"])

    def forward(self, x):
        return self.norm(self.proj(x).permute(0, 2, 3, 4, 1))


class Stage(nn.Module):
    def __init__(self, k, s):
        super().__init__()
        width, eps, steps = k["dim"] << s, k["norm_eps"], k["img_size"][0] // k["patch_size"][0]
        side = k["img_size"][1] // k["patch_size"][1] >> s
        assert k["window"][0] == k["window"][1] and side % k["window"][0] == 0
        shifts = [0, k["window"][0] // 2 if side > k["window"][0] else 0]
        self.blocks = nn.ModuleList([Block(width, k["heads"][s], k["window"][0], shifts[b % 2],
                                           steps if k["temporal_bias"] else 0, b % 2 == 0, eps)
                                     for b in range(k["depths"][s])])
        if s + 1 < len(k["depths"]):
            self.downsample = Merging(width, eps)


class AimSwin(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.patch_embed = Patches(k)
        if not k["temporal_bias"]:
            self.temporal_embedding = nn.Parameter(torch.zeros(1, k["img_size"][0] // k["patch_size"][0], k["dim"]))
        self.layers = nn.ModuleList([Stage(k, s) for s in range(len(k["depths"]))])
        last = k["dim"] << len(k["depths"]) - 1
        self.norm = nn.LayerNorm(last, eps=k["norm_eps"])
        self.cls_head = nn.ModuleDict({"fc_cls": nn.Linear(last, k["num_classes"])})

    def forward(self, x):
        x = self.patch_embed(x)
        if hasattr(self, "temporal_embedding"):
            x = x + self.temporal_embedding[:, :, None, None]
        for stage in self.layers:
            for block in stage.blocks:
                x = block(x)
            if hasattr(stage, "downsample"):
                x = stage.downsample(x)
        return self.cls_head["fc_cls"](self.norm(x).mean((1, 2, 3)))


KEYS = {"img_size": [8, 48, 48], "input_size": [8, 48, 48], "in_chans": 3, "num_classes": 7, "in_layout": "NCDHW",
        "out_layout": "NC", "patch_size": [2, 4, 4], "patch_norm": True, "window": [3, 3], "window_fit": "shrink_axis",
        "mlp_ratio": 4, "adapter_ratio": 0.25, "temporal_bias": True, "qkv_bias": "full", "act": "gelu", "norm_eps": 1e-5,
        "block_norm": "pre", "merge_norm": "before", "pool": "mean", "dim": 16, "depths": [2, 3, 1], "heads": [2, 4, 8],
        "naming": "taoyang1122/adapt-image-models"}
CASES = {"aim_swin_small_at_8x48x48": {}, "aim_swin_small_at_8x48x48_low_variance": {},
         "aim_swin_small_embedding_at_6x24x24": {"img_size": [6, 24, 24], "input_size": [6, 24, 24],
                                                 "temporal_bias": False, "depths": [1, 2], "heads": [2, 4]}}
STAGES = {"patch_embed.norm": "NDHWC", "layers.0.blocks.0.S_Adapter": "NDHWC", "layers.0.blocks.0": "NDHWC",
          "layers.0.blocks.1": "NDHWC", "layers.0.downsample": "NDHWC", "layers.1.blocks.1": "NDHWC", "norm": "NDHWC"}


def scales(name, shape, low):
    """offset, scale"""
    if name.endswith("bias_table") or name == "temporal_embedding":
        table = (0.0, 0.5)
        return (0.0, r9(0.5 / LOW)) if low and name == "temporal_embedding" else table
    if len(shape) > 1:
        return 0.0, r9((3.0 / np.prod(shape[1:])) ** 0.5)
    offset, scale = (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)
    return (r9(offset / LOW), r9(scale / LOW)) if low else (offset, scale)


def summary(t, samples):
    a = t.detach().double().contiguous().numpy().reshape(-1)
    at = range(a.size) if a.size <= samples else [i * (a.size - 1) // (samples - 1) for i in range(samples)]
    return {"shape": list(t.shape), "norm": r9(np.linalg.norm(a)), "mean": r9(a.mean()),
            "samples": [[int(i), r9(a[i])] for i in at]}


def run(keys, table, picture, dtype):
    model = AimSwin(keys)
    for buffer in model.buffers():
        assert buffer.dtype == torch.int64
    model.load_state_dict({t["name"]: formula(t["name"], t["shape"], t["offset"], t["scale"]) for t in table}, strict=False)
    model = model.to(dtype).eval()
    x = formula("input", picture["shape"], 0.0, picture["scale"]).to(dtype).requires_grad_(True)
    stages, modules = {}, dict(model.named_modules())
    for path in STAGES:
        if path in modules:
            modules[path].register_forward_hook(lambda m, i, o, path=path: stages.__setitem__(path, o))
    y = model(x)
    (y * formula("cotangent", y.shape).to(dtype)).sum().backward()
    return y, stages, {"input": x.grad} | {n: p.grad for n, p in model.named_parameters()}


def worst(stated, t):
    a = t.detach().double().contiguous().numpy().reshape(-1)
    unit = max(stated["norm"] / a.size**0.5, 1e-300)
    return max(max(abs(a[i] - x) for i, x in stated["samples"]) / unit, abs(np.linalg.norm(a) / max(stated["norm"], 1e-300) - 1))


def make(case):
    keys, low = KEYS | CASES[case], case.endswith("low_variance")
    model = AimSwin(keys)
    table = []
    for name, p in model.named_parameters():
        offset, scale = scales(name, p.shape, low)
        table.append({"name": name, "shape": list(p.shape), "offset": offset, "scale": scale})
    picture = {"name": "input", "shape": [2, keys["in_chans"], *keys["input_size"]], "offset": 0.0, "scale": r9(1.7 / LOW) if low else 1.7}
    y, stages, gradients = run(keys, table, picture, torch.float64)
    out = {"case": case, "source": "scripts/goldens/make_aim_swin.py",
           "build": {"kind": "model", "library": "own", "family": "aim_swin", "factory": "AimSwin", "kwargs": keys},
           "note": NOTE, "input": [picture], "output": {"name": "output", **summary(y, 64)},
           "stages": [{"path": k, "layout": STAGES[k], **summary(t, 16)} for k, t in stages.items()], "dense_stages": []}
    most = max(float(g.norm()) for g in gradients.values())
    zero = [n for n, g in gradients.items() if float(g.norm()) <= 1e-10 * most]
    listed = lambda n: {k: x for k, x in summary(gradients[n], 32 if n == "input" else 4).items() if k in ("norm", "samples")}
    out["gradients"] = [{"name": n, **listed(n)} for n in gradients if n not in zero]
    out["zero_gradients"] = zero
    out["parameters"] = table
    out["parameter_count"] = int(sum(np.prod(t["shape"]) for t in table))
    out["derived"] = [{"name": n, "shape": list(b.shape)} for n, b in model.named_buffers()]
    y32, stages32, gradients32 = run(keys, table, picture, torch.float32)
    errors = {g["name"]: worst(g, gradients32[g["name"]]) for g in out["gradients"]}
    out["float32_error"] = {"output": worst(out["output"], y32), "stages": max(worst(s, stages32[s["path"]]) for s in out["stages"]),
                            "gradients": max(errors.values()), "worst_gradient": max(errors, key=errors.get)}
    out["float32_error"] = {k: x if isinstance(x, str) else float(f"{x:.3g}") for k, x in out["float32_error"].items()}
    return out


def dump(oracle, path):
    parts = []
    for key, value in oracle.items():
        lines = isinstance(value, list) and value and isinstance(value[0], dict)
        text = "[\n" + ",\n".join(json.dumps(e) for e in value) + "\n]" if lines else json.dumps(value)
        parts.append(f'"{key}": {text}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    for case in CASES:
        oracle = make(case)
        dump(oracle, folder / f"{case}.json")
        print(case, (folder / f"{case}.json").stat().st_size, oracle["float32_error"], oracle["zero_gradients"])
