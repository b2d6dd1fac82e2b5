"""One case under tests/data/hub: its seed, its weights, its input, its numbers, its expected.json."""

import copy
import json
import pathlib
import re
import shutil
import zlib

import numpy as np
import torch

FORMULA = "sin(0.37*i + 0.11*(i % 7)), i the flat row-major index, float64 then float32"
TOLERANCE = 2e-5

# What is added to the stream of tokens, and what makes the tokens: small, so that a wrong epsilon shows.
QUIET = re.compile(
    r"attn\.proj\.|attention\.output\.dense\.|attention\.o_proj\.|(^|\.)output\.dense\.|mlp\.(fc2|w3|down_proj)\.|"
    r"patch_embed|cls_token|dist(illation)?_token|pos(ition)?_embed|reg(ister)?_token|absolute_pos|mask_token")


def formula_input(shape):
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    return torch.from_numpy(np.sin(0.37 * i + 0.11 * (i % 7)).astype(np.float32)).reshape(shape)


def seed_of(case):
    return zlib.crc32(case.encode())


def fill(model, case, quiet_scale=0.03):
    """Seeded numbers everywhere, norms and biases too; the same for the same case."""
    generator = torch.Generator().manual_seed(seed_of(case))

    def drawn(tensor):
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for name, tensor in model.named_parameters():
            quiet = quiet_scale if QUIET.search(name) else 1.0
            if name.endswith("logit_scale"):
                value = 2.3 + 0.2 * drawn(tensor)
            elif tensor.dim() == 1 and name.endswith("bias"):
                value = 0.2 * quiet * drawn(tensor)
            elif tensor.dim() == 1:
                value = 1 + 0.2 * drawn(tensor)
            elif "relative_position_bias_table" in name:
                value = 0.7 * drawn(tensor)
            elif "positional_embedding" in name:
                value = 0.5 * drawn(tensor)
            elif re.search(r"token|pos(ition)?_embed|rel_pos", name):
                value = quiet * drawn(tensor)
            else:
                value = quiet * 1.2 * drawn(tensor) / max(1, tensor[0].numel()) ** 0.5
            tensor.copy_(value)
        for name, tensor in model.named_buffers():
            if name.endswith("running_mean"):
                tensor.copy_(0.1 * drawn(tensor))
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + drawn(tensor).abs())
    return model.eval()


def rounded(tensor):
    return [float(f"{x:.9g}") for x in tensor.detach().double().flatten().tolist()]


def numbers(tensor):
    return {"shape": list(tensor.shape), "values": rounded(tensor)}


def first(tensor, count=32):
    return {"shape": list(tensor.shape), "values": rounded(tensor.flatten()[:count])}


def one_line_a_key(fields):
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
    return "{\n" + lines + "\n}\n"


class Case:
    """The folder of one case, empty when it begins."""

    def __init__(self, root, name):
        self.name = name
        self.folder = pathlib.Path(root) / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        torch.manual_seed(seed_of(name))

    def generator(self):
        return torch.Generator().manual_seed(seed_of(self.name) + 1)

    def _write(self, fields):
        head = {"case": self.name}
        (self.folder / "expected.json").write_text(one_line_a_key(head | fields))
        names = sorted(path.name for path in self.folder.iterdir())
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        print(f"{self.name:48} {size / 1000:8.1f} kB  {' '.join(names)}", flush=True)

    def loads(self, about, made_by, path, family, prefix, shape, *, num_classes=0, classes=None, answer=None,
              command=None, **results):
        """`results`: logits, cls, mean, tokens and what else there is to compare."""
        self._write({
            "about": about, "made_by": made_by, "path": path, "command": command or {}, "loads": True,
            "error_contains": [], "family": family, "num_classes": num_classes, "classes": classes, "answer": answer,
            "prefix": prefix, "img_size": list(shape[2:]), "input": {"shape": list(shape), "formula": FORMULA},
            "tolerance": TOLERANCE} | results)

    def reads(self, about, made_by, path, family, prefix, output, command=None, **how):
        """Of sequences. `how`: ids or frames, mask, segment_len."""
        self._write({
            "about": about, "made_by": made_by, "path": path, "command": command or {}, "loads": True,
            "error_contains": [],
            "family": family, "num_classes": 0, "classes": None, "answer": None, "prefix": prefix, "input": how,
            "tolerance": TOLERANCE, "output": numbers(output)})

    def refused(self, about, made_by, path, error_contains, *, family=None, command=None):
        self._write({"about": about, "made_by": made_by, "path": path, "command": command or {}, "loads": False,
                     "error_contains": error_contains, "family": family})


def in_float64(model, picture, **arguments):
    """Its answer to a float32 picture with float32 weights, computed in float64."""
    with torch.no_grad():
        return copy.deepcopy(model).double().eval()(picture.double(), **arguments)


def features(tokens, prefix_tokens):
    """Of normed tokens (1, prefix + N, C): cls (where there is one), the mean of the patches, the first numbers."""
    out = {"cls": numbers(tokens[:, 0])} if prefix_tokens else {}
    out["mean"] = numbers(tokens[:, prefix_tokens:].mean(1))
    out["tokens"] = first(tokens)
    return out


def edit_json(path, change):
    """The object in a JSON file after `change`."""
    value = json.loads(path.read_text())
    changed = change(value)
    path.write_text(json.dumps(value if changed is None else changed, indent=2) + "\n")
