#!/usr/bin/env python3
"""Rewrites the stem's gradients in oracle files of timm's LeViT and XCiT, which torch 2.15's autograd had wrong.

    python correct_stem_gradients.py FILE.json ...

Behind the stem stands flatten(2).transpose(1, 2): the gradient comes back channels last, and the backward pass of the stem's
last batch norm pairs it with the wrong places (correct_cvt_gradients.py has the same). Finite differences agree once it is
contiguous. All other gradients must be the file's own.
"""

import json
import sys

import timm
import torch

from correct_cvt_gradients import Contiguous, dump, error, made, samples

STEMS = {"levit": "stem", "xcit": "patch_embed.proj"}
NOTE = ("gradients of the stem computed with a contiguous gradient behind it: as the library has it, torch's backward pass "
        "of batch norm disagrees with finite differences")


def gradients(oracle, dtype):
    """Of every parameter and the input, by name; and the output."""
    model = timm.create_model(oracle["build"]["factory"]).to(dtype).eval()
    model.get_submodule(STEMS[oracle["build"]["family"]]).register_forward_hook(lambda stem, inputs, output: Contiguous.apply(output))
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for item in oracle["parameters"]:
            tensors[item["name"]].copy_(made(item))
    picture = made(oracle["input"][0]).to(dtype).requires_grad_()
    output = model(picture)
    cotangent = made({"name": "cotangent", "shape": list(output.shape), "offset": 0.0, "scale": 1.0}).to(dtype)
    (output * cotangent).sum().backward()
    return {"input": picture.grad} | {name: parameter.grad for name, parameter in model.named_parameters()}, output


def correct(path):
    with open(path) as file:
        oracle = json.load(file)
    exact, output = gradients(oracle, torch.float64)
    for i, want in oracle["output"]["samples"]:
        assert abs(output.flatten()[i].item() - want) < 1e-7, path
    stem = STEMS[oracle["build"]["family"]] + "."
    largest = max(float(gradient.norm()) for name, gradient in exact.items() if name != "input")
    for name in list(oracle["zero_gradients"]):
        if name.startswith(stem) and float(exact[name].norm()) > 1e-10 * largest:
            oracle["zero_gradients"].remove(name)
            oracle["gradients"].append({"name": name, **samples(exact[name], 4)})
    for want in oracle["gradients"]:
        if not want["name"].startswith((stem, "input")):
            assert error(want, exact[want["name"]]) < 1e-6, want["name"]
            continue
        want |= samples(exact[want["name"]], len(want["samples"]))
    single = gradients(oracle, torch.float32)[0]
    errors = {want["name"]: error(want, single[want["name"]]) for want in oracle["gradients"]}
    worst = max(errors, key=errors.get)
    oracle["float32_error"] |= {"gradients": float(f"{errors[worst]:.3g}"), "worst_gradient": worst}
    if NOTE not in oracle.get("note", ""):
        oracle["note"] = "; ".join(filter(None, [oracle.get("note"), NOTE]))
    dump(oracle, path)
    print(path, "float32", oracle["float32_error"])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        correct(name)
