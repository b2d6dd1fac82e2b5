"""Sets numbers of a float32 tensor in place, header and size as they were:
python3 set_number.py FILE.safetensors TENSOR INDEX|all VALUE"""
import json
import struct
import sys

path, name, index, value = sys.argv[1:]
with open(path, "r+b") as file:
    length = struct.unpack("<Q", file.read(8))[0]
    begin, end = json.loads(file.read(length))[name]["data_offsets"]
    if index == "all":
        file.seek(8 + length + begin)
        file.write(struct.pack("<f", float(value)) * ((end - begin) // 4))
    else:
        file.seek(8 + length + begin + 4 * int(index))
        file.write(struct.pack("<f", float(value)))
