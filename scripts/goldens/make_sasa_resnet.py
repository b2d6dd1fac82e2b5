#!/usr/bin/env python3
"""Writes tests/data/oracle/official/sasa/resnet26_32.json from leaderj1001/Stand-Alone-Self-Attention.

    python scripts/goldens/make_sasa_resnet.py MAKE_ZOO_DIR REPOSITORY tests/data/oracle/official/sasa

MAKE_ZOO_DIR holds the make_zoo.py of the zoo's files, REPOSITORY the checked-out attention.py and model.py (commit
a983f0f64363): its ResNet26 as its model.py has it, with a stem for pictures of 32 x 32.
"""

import sys

CASE = "resnet26_32"
DEPTHS = [1, 2, 4, 1]


def main():
    sys.path[:0] = sys.argv[1:3]
    import make_zoo
    from model import ResNet26

    def build():
        blocks = [[stage, block] for stage, depth in enumerate(DEPTHS) for block in range(depth)]
        kwargs = {"img_size": [32, 32], "input_size": [32, 32], "in_chans": 3, "num_classes": 10, "in_layout": "NCHW",
                  "out_layout": "NC", "stem_chans": [64], "stem_kernel": 3, "stem_stride": 1, "stem_pool": "none",
                  "dims": [256, 512, 1024, 2048], "depths": DEPTHS, "strides": [1, 2, 2, 2], "bottleneck_ratio": 0.25,
                  "attention_blocks": blocks, "attention": "sasa_per_channel", "kernel": 7, "halve_last": True,
                  "act": "relu", "bn_eps": 1e-5, "pool": "mean", "naming": "leaderj1001"}
        return make_zoo.Case(
            source="leaderj1001/Stand-Alone-Self-Attention@a983f0f64363 model.py :: ResNet26(num_classes=10)", config={},
            build={"kind": "model", "library": "official", "family": "sasa_resnet", "factory": "ResNet26", "kwargs": kwargs},
            model=ResNet26(num_classes=10), inputs={"input": (1, 3, 32, 32)},
            stages=["layer{1,2,3,4}|NCHW", "layer2.0.conv2.0|NCHW"],
            note="padded keys are the position alone: a softmax for every channel over the window",
            rules=[("*.rel_[hw]", 0.0, 0.5)])

    make_zoo.torch.set_num_threads(1)
    make_zoo.CASES[CASE] = build
    made = make_zoo.make(CASE)
    path = f"{sys.argv[3]}/{CASE}.json"
    make_zoo.dump(made, path)
    made["float32_error"] = make_zoo.check(path)
    make_zoo.dump(made, path)
    print(CASE, made["parameter_count"], made["float32_error"])


if __name__ == "__main__":
    main()
