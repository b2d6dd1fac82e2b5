"""The file of --coco against the records of --json: python3 check_coco.py COCO JSON WIDTH HEIGHT NAME"""
import json
import sys


def runs(text):
    """Counts of COCO's compressed run lengths."""
    counts, at = [], 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            c = ord(text[at]) - 48
            at += 1
            value |= (c & 31) << shift
            more = c & 32
            shift += 5
            if not more and c & 16:
                value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


coco, records = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
width, height, name = int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
assert list(coco) == ["info", "images", "annotations", "categories"], list(coco)
assert coco["images"] == [{"id": 1, "file_name": name, "height": height, "width": width}], coco["images"]
assert [c["id"] for c in coco["categories"]] == [1] and coco["categories"][0]["name"] == "object"
assert list(records) == ["picture", "height", "width", "model", "family", "naming", "key", "preprocessing", "precision",
                         "assumed", "masks"], list(records)
masks = [m for m in records["masks"] if m["area"] > 0]
assert len(masks) == len(coco["annotations"]) > 0
for n, (a, m) in enumerate(zip(coco["annotations"], masks)):
    assert (a["id"], a["image_id"], a["category_id"], a["iscrowd"]) == (n + 1, 1, 1, 0), a
    for key in ("segmentation", "area", "predicted_iou", "stability_score", "point_coords", "crop_box"):
        assert a[key] == m[key], key
    assert a["segmentation"]["size"] == [height, width]
    counts = runs(a["segmentation"]["counts"])
    assert sum(counts) == width * height and min(counts[1:]) > 0
    at, xs, ys = 0, set(), set()
    for i, count in enumerate(counts):
        if i % 2:
            for p in range(at, at + count):  # down the columns
                xs.add(p // height)
                ys.add(p % height)
        at += count
    assert a["area"] == sum(counts[1::2])
    assert a["bbox"] == [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1], a["bbox"]
    assert m["bbox"] == [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)], m["bbox"]
