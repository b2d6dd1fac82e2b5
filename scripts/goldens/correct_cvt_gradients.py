#!/usr/bin/env python3
"""Rewrites the gradients in oracle files of transformers' CvT, which torch 2.15's autograd had wrong.

    python correct_cvt_gradients.py FILE.json ...

CvT's maps are tokens seen as pictures, channels last in memory. There torch's backward pass of batch norm (evaluation, CPU)
pairs gradients with the wrong places: it disagrees with finite differences by factors, and agrees once maps and gradients are
contiguous. Outputs and stages are not touched, they are right.
"""

import json
import sys

import numpy as np
import torch
import transformers as hf
from transformers.models.cvt import modeling_cvt

NOTE = ("gradients computed with contiguous maps: as the library has them, torch's backward pass of batch norm disagrees "
        "with finite differences")


def stream(name, count):
    """The first numbers of a name, in [-1, 1): tests/data/oracle/README.md."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return 2.0 * ((z >> np.uint64(40)).astype(np.float64) * 2.0**-24) - 1.0


def made(item):
    numbers = item["offset"] + item["scale"] * stream(item["name"], int(np.prod(item["shape"], dtype=np.int64)))
    return torch.from_numpy(numbers.astype(np.float32).reshape(item["shape"]))


class Contiguous(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.contiguous()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.contiguous()


def projection(self, x):
    return Contiguous.apply(self.normalization(self.convolution(x.contiguous())))


def gradients(oracle, dtype):
    """Of every parameter and the input, by name; and the output."""
    model = hf.CvtForImageClassification(hf.CvtConfig(num_labels=1000)).to(dtype).eval()
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for item in oracle["parameters"]:
            tensors[item["name"]].copy_(made(item))
    picture = made(oracle["input"][0]).to(dtype).requires_grad_()
    output = model(pixel_values=picture).logits
    cotangent = made({"name": "cotangent", "shape": list(output.shape), "offset": 0.0, "scale": 1.0}).to(dtype)
    (output * cotangent).sum().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"input": picture.grad} | found, output


def rounded(x):
    return float(f"{float(x):.9g}")


def samples(gradient, count):
    flat = gradient.detach().double().contiguous().numpy().reshape(-1)
    last = flat.size - 1
    at = range(flat.size) if flat.size <= count else [i * last // (count - 1) for i in range(count)]
    return {"norm": rounded(np.linalg.norm(flat)), "samples": [[int(i), rounded(flat[i])] for i in at]}


def error(want, gradient):
    flat = gradient.detach().double().contiguous().numpy().reshape(-1)
    unit = want["norm"] / flat.size**0.5
    worst = max(abs(flat[i] - x) for i, x in want["samples"])
    return max(worst, abs(np.linalg.norm(flat) - want["norm"]) / flat.size**0.5) / unit


def dump(oracle, path):
    parts = []
    for key, value in oracle.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            parts.append(f'"{key}": [\n' + ",\n".join(json.dumps(item) for item in value) + "\n]")
        else:
            parts.append(f'"{key}": ' + json.dumps(value))
    with open(path, "w") as file:
        file.write("{\n" + ",\n".join(parts) + "\n}\n")


def correct(path):
    with open(path) as file:
        oracle = json.load(file)
    exact, output = gradients(oracle, torch.float64)
    for i, want in oracle["output"]["samples"]:
        assert abs(output.flatten()[i].item() - want) < 1e-8, path
    largest = max(float(gradient.norm()) for name, gradient in exact.items() if name != "input")
    zero = [name for name, gradient in exact.items() if float(gradient.norm()) <= 1e-10 * largest]
    oracle["gradients"] = [{"name": name, **samples(gradient, 32 if name == "input" else 4)}
                           for name, gradient in exact.items() if name not in zero]
    oracle["zero_gradients"] = zero
    single = gradients(oracle, torch.float32)[0]
    errors = {want["name"]: error(want, single[want["name"]]) for want in oracle["gradients"]}
    worst = max(errors, key=errors.get)
    oracle["float32_error"] |= {"gradients": float(f"{errors[worst]:.3g}"), "worst_gradient": worst}
    if NOTE not in oracle.get("note", ""):
        oracle["note"] = "; ".join(filter(None, [oracle.get("note"), NOTE]))
    dump(oracle, path)
    print(path, len(oracle["gradients"]), "gradients,", len(zero), "zero; float32", oracle["float32_error"])


if __name__ == "__main__":
    modeling_cvt.CvtSelfAttentionConvProjection.forward = projection
    for file in sys.argv[1:]:
        correct(file)
