"""CvT's folders that transformers' save_pretrained writes: its config.json has no picture size."""

import transformers as hf

from .case import Case, fill, formula_input, in_float64, numbers
from .transformers_folders import BIRDS, labels, made_by, same_after_reading

# The library reads a stage's depth at the stage's own index.
SMALL = {"embed_dim": [6, 8, 12], "num_heads": [1, 2, 3], "depth": [1, 2, 3], "mlp_ratio": [2.0, 1.5, 2.0],
         "patch_sizes": [5, 3, 3]}


def folder(root, name, model, shape):
    case = Case(root, name)
    fill(model, name, 0.3)
    model.save_pretrained(case.folder / "model")
    same_after_reading(model, case.folder / "model", formula_input(shape))
    return case, in_float64(model, formula_input(shape))


def classifier(root, name, about, shape, names=None, **more):
    model = hf.CvtForImageClassification(hf.CvtConfig(**(SMALL | more)))
    case, answer = folder(root, name, model, shape)
    case.loads(about, made_by(model), "model", "cvt", "cvt.", shape, num_classes=answer.logits.shape[1], classes=names,
               answer="one_class", logits=numbers(answer.logits)["values"])


def make(root):
    hf.logging.set_verbosity_error()
    hf.logging.disable_progress_bar()
    classifier(root, "cvt_classifier", "heads of 6, 4 and 4 channels, which config.json alone tells; maps of odd sides; "
               "the last norm and the head have no prefix", [1, 3, 45, 38], BIRDS, **labels(BIRDS))
    classifier(root, "cvt_other_strides", "q, k and v without bias, kernels of 5, strides and pads of its own; "
               "layer_norm_eps, which the library does not read; two grey pictures", [2, 1, 31, 40], num_labels=3,
               num_channels=1, qkv_bias=[False] * 3, kernel_qkv=[5] * 3, padding_q=[2] * 3, padding_kv=[2] * 3,
               stride_kv=[3, 2, 1], patch_stride=[3, 2, 2], patch_padding=[1, 1, 0], layer_norm_eps=0.5)

    model = hf.CvtModel(hf.CvtConfig(**SMALL))
    shape = [1, 3, 33, 50]
    case, answer = folder(root, "cvt_headless", model, shape)
    case.loads("no head and no last norm", made_by(model), "model", "cvt", "", shape,
               cls=numbers(answer.cls_token_value[:, 0]))
