#!/usr/bin/env python3
"""Writes the gradients of LocalViT's oracle files again.

    python3 scripts/goldens/make_localvit_gradients.py ORACLE.json ... OUT_FOLDER

torch 2.15.0 differentiates batch_norm wrongly on the CPU where the batch is one picture and the gradient lies channels
last, as it does behind flatten(2).transpose(1, 2): it reads the gradient as if it were contiguous. The files were made
with it. Here the model is written out with torch's functions, must give the file's own output and gradients to 1e-6 of
their unit, and is then differentiated with the gradients of batch norms made contiguous.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F

NOTE = ("gradients: made again by scripts/goldens/make_localvit_gradients.py, for torch 2.15.0 differentiates batch_norm "
        "wrongly where one picture's gradient lies channels last")
U = np.uint64


def fnv1a64(text):
    out = 0xCBF29CE484222325
    for byte in text.encode():
        out = ((out ^ byte) * 0x100000001B3) % 2**64
    return out


def formula(name, shape, offset=0.0, scale=1.0):
    with np.errstate(over="ignore"):
        z = np.arange(int(np.prod(shape)), dtype=U) + U(fnv1a64(name)) + U(0x9E3779B97F4A7C15)
        z = (z ^ (z >> U(30))) * U(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U(27))) * U(0x94D049BB133111EB)
        z = z ^ (z >> U(31))
    value = offset + scale * (2 * ((z >> U(40)).astype(np.float64) * 2.0**-24) - 1)
    return torch.from_numpy(value.astype(np.float32).astype(np.float64)).reshape(shape)


class ContiguousGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, dy):
        return dy.contiguous()


class LocalViT:
    def __init__(self, oracle, contiguous):
        self.keys, self.contiguous = oracle["build"]["kwargs"], contiguous
        self.p = {t["name"]: formula(t["name"], t["shape"], t["offset"], t["scale"]) for t in oracle["parameters"]}
        picture = oracle["input"][0]
        self.picture = formula(picture["name"], picture["shape"], picture["offset"], picture["scale"])
        self.leaves = {"input": self.picture} | {n: t for n, t in self.p.items() if ".running_" not in n}
        for leaf in self.leaves.values():
            leaf.requires_grad_(True)

    def linear(self, x, name):
        return F.linear(x, self.p[name + ".weight"], self.p[name + ".bias"])

    def layer_norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.p[name + ".weight"], self.p[name + ".bias"], self.keys["norm_eps"])

    def batch_norm(self, x, name):
        y = F.batch_norm(x, self.p[name + ".running_mean"], self.p[name + ".running_var"], self.p[name + ".weight"],
                         self.p[name + ".bias"], False, 0.1, self.keys["bn_eps"])
        return ContiguousGradient.apply(y) if self.contiguous else y

    def act(self, x):
        return F.relu6(x) if self.keys["act"] == "relu6" else x * F.relu6(x + 3) / 6

    def feed_forward(self, x, name):
        weight = lambda index: self.p[f"{name}.{index}.weight"]
        h = self.act(self.batch_norm(F.conv2d(x, weight(0)), name + ".1"))
        h = self.act(self.batch_norm(F.conv2d(h, weight(3), padding=1, groups=h.shape[1]), name + ".4"))
        last = 6
        if self.keys["gate"] == "se":
            gate = F.relu(self.linear(h.mean((2, 3)), name + ".6.fc.0"))
            gate = F.relu6(self.linear(gate, name + ".6.fc.2") + 3) / 6
            h, last = h * gate[:, :, None, None], 7
        return x + self.batch_norm(F.conv2d(h, weight(last)), f"{name}.{last + 1}")

    def block(self, x, name):
        B, N, C = x.shape
        heads, side = self.keys["heads"], round((N - 1) ** 0.5)
        qkv = self.linear(self.layer_norm(x, name + ".norm1"), name + ".attn.qkv").reshape(B, N, 3, heads, C // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = ((q @ k.transpose(-2, -1)) * (C // heads) ** -0.5).softmax(-1) @ v
        x = x + self.linear(attended.transpose(1, 2).reshape(B, N, C), name + ".attn.proj")
        patches = self.feed_forward(x[:, 1:].transpose(1, 2).reshape(B, C, side, side), name + ".conv.conv")
        return torch.cat([x[:, :1], patches.flatten(2).transpose(1, 2)], 1)

    def gradients(self):
        """The output, and d(sum of output * cotangent) by name."""
        x = F.conv2d(self.picture, self.p["patch_embed.proj.weight"], self.p["patch_embed.proj.bias"],
                     stride=self.keys["patch_size"])
        x = torch.cat([self.p["cls_token"], x.flatten(2).transpose(1, 2)], 1) + self.p["pos_embed"]
        for i in range(self.keys["depth"]):
            x = self.block(x, f"blocks.{i}")
        out = self.linear(self.layer_norm(x, "norm")[:, 0], "head")
        (out * formula("cotangent", out.shape)).sum().backward()
        return out.detach(), {name: leaf.grad for name, leaf in self.leaves.items() if leaf.grad is not None}


def worst(wants, got):
    """Largest difference of samples and norms, in units of norm / sqrt(numbers)."""
    out = 0.0
    for want in wants:
        x = got[want["name"]].flatten()
        unit = want["norm"] / x.numel() ** 0.5
        out = max([out, abs(x.norm().item() / want["norm"] - 1)] + [abs(x[i].item() - y) / unit for i, y in want["samples"]])
    return out


def main():
    *paths, folder = [pathlib.Path(argument) for argument in sys.argv[1:]]
    for path in paths:
        lines = path.read_text().split("\n")
        oracle = json.loads("\n".join(lines))
        output, theirs = LocalViT(oracle, False).gradients()
        assert worst([oracle["output"]], {"output": output}) < 1e-6, path
        assert worst(oracle["gradients"], theirs) < 1e-6, f"{path}: not what torch 2.15.0 gives"
        _, right = LocalViT(oracle, True).gradients()
        assert {name for name, x in right.items() if not x.any()} == set(oracle["zero_gradients"]), path
        print(f"{path.name}: gradients were up to {worst(oracle['gradients'], right):.1f} units off")
        at = lines.index('"gradients": [') + 1
        for i, want in enumerate(oracle["gradients"]):
            x = right[want["name"]].flatten()
            number = lambda value: float(f"{value.item():.9g}")
            row = {"name": want["name"], "norm": number(x.norm()), "samples": [[j, number(x[j])] for j, _ in want["samples"]]}
            lines[at + i] = json.dumps(row) + lines[at + i][lines[at + i].rindex("}") + 1:]
        note = f"{oracle['note']}; {NOTE}"
        lines = [f'"note": {json.dumps(note)},' if line.startswith('"note"') else line for line in lines]
        (folder / path.name).write_text("\n".join(lines))


if __name__ == "__main__":
    main()
