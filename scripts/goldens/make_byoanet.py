#!/usr/bin/env python3
"""Writes tests/data/oracle/zoo/timm_{botnet50ts_256,halonet50ts,sehalonet33ts,eca_botnext26ts_256}.json.

    python scripts/goldens/make_byoanet.py MAKE_ZOO_DIR tests/data/oracle/zoo [CASE ...]

MAKE_ZOO_DIR holds the make_zoo.py that the other files of that folder come from: weights by formula, numbers in float64
from timm's own model. Pictures are smaller than the release's, so that the files are quick to verify.
"""

import sys

NOTE = "max-pool: gradients may jump where a float32 run crosses a kink"
R50 = {"depths": [3, 4, 6, 3], "attention_blocks": [[1, 3], [2, 1], [2, 3], [2, 5], [3, 1]], "attention_strides": [1] * 5,
       "act": "silu"}
R33 = {"dims": [256, 512, 1024, 1536], "depths": [2, 3, 3, 2], "widths": [64, 128, 256, 512], "stem_pool": "none",
       "attention_blocks": [[1, 2], [2, 2], [3, 0], [3, 1]], "attention_strides": [1, 1, 2, 1], "act": "silu",
       "gate": "squeeze_excite", "num_features": 1280}
NEXT = {"group_size": 16, "head_dims": [16, 16, 16], "act": "silu", "gate": "eca"}
HALO50 = {"heads": [4, 8, 8, 8, 8], "head_dims": [32, 32, 32, 32, 64], "halo": 3, "window": [14, 14]}
# name: family, picture, stages, what differs from the 26-layer model's recipe
CASES = {
    "botnet50ts_256": ("botnet", 128, ["stages.{1.3,2.1,3.1}.self_attn"],
                       {**R50, "heads": [4] * 5, "head_dims": [32, 64, 64, 64, 128]}),
    "halonet50ts": ("halonet", 256, ["stages.{1.3,2.1,3.1}.self_attn"], {**R50, **HALO50}),
    "eca_botnext26ts_256": ("botnet", 128, ["stages.3.0.self_attn"], NEXT),
    "sehalonet33ts": ("halonet", 256, ["stages.3.0.self_attn", "final_conv"],
                      {**R33, "heads": [8] * 4, "head_dims": [16, 32, 64, 64], "halo": 3, "window": [14, 14]}),
}


def main():
    sys.path.insert(0, sys.argv[1])
    import make_zoo

    make_zoo.torch.set_num_threads(1)
    for name in sys.argv[3:] or CASES:
        family, side, stages, more = CASES[name]
        fixed = family == "botnet"
        case = f"timm_{name}" + ("" if side == 256 else f"_at_{side}")
        make_zoo.timm_case(case, name, (1, 3, side, side), [f"{path}|NCHW" for path in ["stem", "stages.{0,1,2,3}", *stages]],
                           {}, kw={"img_size": side} if fixed else None, model=family,
                           args={"window": [12, 12], **more} if family == "halonet" else more, note=NOTE)
        made = make_zoo.make(case)
        path = f"{sys.argv[2]}/{case}.json"
        make_zoo.dump(made, path)
        made["float32_error"] = make_zoo.check(path)
        make_zoo.dump(made, path)
        print(case, made["parameter_count"], made["float32_error"], flush=True)


if __name__ == "__main__":
    main()
