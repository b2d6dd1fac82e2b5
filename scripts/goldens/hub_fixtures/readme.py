"""tests/data/hub/README.md, from the cases that are there."""

import json
import pathlib

HEAD = """# Folders and files of the hub

Tiny models with drawn widths and weights, saved by the official classes, one folder a case.
Made by `scripts/goldens/make_hub_fixtures.py tests/data/hub`; every case has its own seed, and a second run gives the same
bytes. Weights are small where they feed the stream of tokens, so that a wrong epsilon shows: 1e-6 for 1e-12 moves the logits
of a ViT by 2e-4 to 1e-3 of the largest, wrong heads by 0.2 to 0.8.

## expected.json

| key | content |
|---|---|
| made_by | library, version, class |
| path | what to open, from the case's folder; may be in another case's |
| command | what to ask for beside the path: `key` (a state dict in the file), `ignore` (patterns of tensors) |
| loads | false: it must be refused, and the sentence has every word of `error_contains`, in any case of letters |
| family | of Locant |
| num_classes, classes | 0 without a head; null where the file has no names |
| answer | one_class: softmax; each_class: a sigmoid each; values: the number itself; null without a head |
| prefix | what stands before the tensors' names, with its last dot; of `vit_msn_classifier` before some of them |
| notes | words that a note has to have |
| img_size, input | the model's sides; shape and formula of the input; of sequences `ids`, `mask` and `segment_len` themselves |
| output | of sequences: shape and numbers of the first output |
| logits, cls, mean | numbers to meet |
| tokens, embedding, masks | shape, and the first 32 numbers |
| point, iou_scores | Segment Anything: the prompt, in pixels of the input, and the scores of its three masks |
| tolerance | of each number, relative to the largest of its list |

`cls` and `mean` (of the patches, without cls, distillation token and registers) are rows of the tokens after the last norm,
which `tokens` begins with.

    input(i) = sin(0.37 i + 0.11 (i mod 7))     i = flat row-major index; float64, then one rounding to float32

Numbers come from a float64 run on float32 weights, those of Segment Anything from float32; both are rounded to 9 digits.

## Cases
"""


def make(root):
    lines = [HEAD, "| case | opens | made by | what |", "|---|---|---|---|"]
    refused = []
    for path in sorted(root.glob("*/expected.json")):
        case = json.loads(path.read_text())
        row = f"| {case['case']} | `{case['path']}` | {case['made_by']} | {case['about']} |"
        if case["loads"]:
            lines.append(row)
        else:
            refused.append(row[:-1] + f"| {', '.join(case['error_contains'])} |")
    lines += ["", "Must be refused:", "", "| case | opens | made by | what | names |", "|---|---|---|---|---|"] + refused
    (root / "README.md").write_text("\n".join(lines) + "\n")
