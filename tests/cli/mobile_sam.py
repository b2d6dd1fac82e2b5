"""A MobileSAM checkpoint of small made-up numbers: python3 mobile_sam.py NAMES.json OUT.safetensors"""
import array
import json
import math
import struct
import sys

block = array.array("f", (((i * 7919) % 1009) / 504.5 - 1.0 for i in range(1009)))


def numbers(name, shape):
    count = math.prod(shape)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        return array.array("f", [1.0]) * count
    fan_in = math.prod(shape[1:]) if len(shape) > 1 else 100
    scale = 1.5 / math.sqrt(fan_in)
    start = sum(name.encode()) % 500
    piece = array.array("f", (scale * x for x in block[start:] + block[:start]))
    return (piece * (count // len(piece) + 1))[:count]


header, parts, offset = {}, [], 0
for tensor in json.load(open(sys.argv[1]))["tensors"]:
    if tensor["dtype"] != "float32":
        continue
    data = numbers(tensor["name"], tensor["shape"]).tobytes()
    header[tensor["name"]] = {"dtype": "F32", "shape": tensor["shape"], "data_offsets": [offset, offset + len(data)]}
    offset += len(data)
    parts.append(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(sys.argv[2], "wb") as out:
    out.write(struct.pack("<Q", len(text)) + text + b"".join(parts))
