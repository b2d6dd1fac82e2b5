"""Transformer-XL as transformers had it until 4.35: this group alone wants transformers==4.30.2."""

import re

import torch
from transformers import TransfoXLConfig, TransfoXLLMHeadModel, TransfoXLModel, __version__

from .case import Case, fill
from .sequence_folders import ids_of

SIZES = {"vocab_size": 30, "cutoffs": [10, 18], "d_model": 16, "d_embed": 16, "n_head": 2, "d_head": 6, "d_inner": 20,
         "div_val": 2, "n_layer": 2, "mem_len": 6, "clamp_len": 5}


def case_of(root, name, about, model, prefix, segment, **how):
    """Two segments, the second with what the first left; in float32, the only type that its mask has."""
    case = Case(root, name)
    fill(model, name).save_pretrained(case.folder / "model", **how)
    ids = ids_of(case, (2, 2 * segment), model.config.vocab_size)
    with torch.no_grad():
        first = model(ids[:, :segment])
        second = model(ids[:, segment:], mems=first.mems)
    case.reads(about, f"transformers {__version__} {type(model).__name__}", "model", "transformer_xl", prefix,
               torch.cat([first[0], second[0]], 1), ids=ids.tolist(), segment_len=segment)


def original(root):
    """The same numbers under the names of kimiyoung/transformer-xl, whose columns of clusters run the other way, which
    has u and v once, and no memory at first."""
    case = Case(root, "transfo_xl_original")
    model = fill(TransfoXLLMHeadModel(TransfoXLConfig(**(SIZES | {"untie_r": False, "mem_len": 0, "clamp_len": -1,
                                                                  "same_length": False}))), case.name)
    ids = ids_of(case, (2, 7), model.config.vocab_size)
    with torch.no_grad():
        output = model(ids)[0]
    state = {name.removeprefix("transformer."): tensor for name, tensor in model.state_dict().items()
             if not re.search(r"dec_attn\.r_[rw]_bias", name)}
    for name in ("crit.cluster_weight", "crit.cluster_bias"):
        state[name] = state[name].flip(0)
    torch.save(state, case.folder / "checkpoint.pth")
    case.reads("no folder: names and shapes alone tell cutoffs and widths; three clusters", f"transformers {__version__}, "
               "renamed", "checkpoint.pth", "transformer_xl", "", output, ids=ids.tolist())


def make(root):
    original(root)
    case_of(root, "transfo_xl_lm", "adaptive embedding and softmax, tied; pytorch_model.bin; memory that begins with zeros",
            TransfoXLLMHeadModel(TransfoXLConfig(**SIZES)), "transformer.", 5)
    case_of(root, "transfo_xl_headless", "no softmax; one table, projected; the norm comes first, each token sees all",
            TransfoXLModel(TransfoXLConfig(**(SIZES | {"cutoffs": [], "div_val": 1, "d_embed": 8, "clamp_len": -1,
                                                       "same_length": False, "pre_lnorm": True}))),
            "", 4, safe_serialization=True)
    case_of(root, "transfo_xl_one_table", "clusters of one table, each with a projection; the first is its own",
            TransfoXLLMHeadModel(TransfoXLConfig(**(SIZES | {"div_val": 1, "d_embed": 8}))), "transformer.", 5)
