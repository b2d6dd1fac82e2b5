"""Folders of text encoders that transformers' save_pretrained writes."""

import copy

import torch
import transformers as hf

from .case import Case, fill

SIZES = {"vocab_size": 40, "d_model": 12, "d_kv": 6, "d_ff": 20, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.1,
         "relative_attention_num_buckets": 16, "relative_attention_max_distance": 20}


def ids_of(case, shape, vocabulary):
    return torch.randint(0, vocabulary, shape, generator=case.generator())


def t5(root, name, about, model, family="t5_encoder"):
    case = Case(root, name)
    fill(model, name, 0.3).save_pretrained(case.folder / "model")
    ids = ids_of(case, (2, 30), model.config.vocab_size)
    mask = torch.ones_like(ids)
    mask[1, 23:] = 0
    with torch.no_grad():
        output = copy.deepcopy(model).double().get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    case.reads(about, f"transformers {hf.__version__} {type(model).__name__}", "model", family, "", output,
               ids=ids.tolist(), mask=mask.tolist())


def make(root):
    t5(root, "t5_encoder", "gated; the second sample is padded; distances beyond the last bucket's",
       hf.T5EncoderModel(hf.T5Config(**SIZES, feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-3)))
    t5(root, "t5_whole", "a model with its decoder, whose tensors are passed over; relu",
       hf.T5ForConditionalGeneration(hf.T5Config(**SIZES)))
    t5(root, "mt5_gated_silu", "of mT5's type; the gate is SiLU, which config.json alone tells",
       hf.MT5EncoderModel(hf.MT5Config(**SIZES, feed_forward_proj="gated-silu")))
