#pragma once

namespace locant::cli {

/// An op as `locant list ops` shows it.
struct Named {
  const char* name;
  const char* header;
  const char* what;
};

constexpr Named kOps[] = {
    {"attention", "ops/attention/attention.h",
     "fused multi-head attention with score terms, masks and row maps"},
    {"attention_composed", "ops/attention/attention.h",
     "the same from matmul, add, softmax, matmul: oracle and baseline"},
    {"linear_attention", "ops/linear_attention.h",
     "sums over keys of feature products, causal or not; linear in the tokens"},
    {"separable_softmax", "ops/separable_softmax.h",
     "attention whose scores are a row part plus a column part"},
    {"gated_sum", "ops/separable_softmax.h", "(1 - g) a + g b with a gate per head"},
    {"linear", "ops/linear.h", "x W^T + b; packed once for inference, with GELU and residual fused"},
    {"matmul", "ops/matmul.h", "alpha op(A) op(B) + beta C"},
    {"conv2d", "ops/conv2d.h", "convolution with stride, padding and groups"},
    {"layer_norm", "ops/norm.h", "normalisation over the last axis"},
    {"softmax", "ops/softmax.h", "over the last axis"},
    {"gelu", "ops/elementwise.h", "exact GELU"},
    {"swiglu", "ops/elementwise.h", "silu(a) b on [a | b]"},
    {"layer_scale", "ops/elementwise.h", "gamma x + residual"},
    {"add", "ops/elementwise.h", "sum, with broadcasting over leading axes"},
    {"dropout", "ops/elementwise.h", "zeroes elements while training"},
    {"drop_path", "ops/elementwise.h", "zeroes samples while training"},
    {"cross_entropy", "ops/loss.h", "with label smoothing"},
    {"focal_loss", "ops/mask_loss.h", "of mask logits, mean over pixels"},
    {"dice_loss", "ops/mask_loss.h", "of mask logits"},
    {"mean_pool", "ops/layout.h", "mean over tokens"},
    {"concat_rows", "ops/layout.h", "tokens of several tensors in a row"},
    {"patchify", "ops/layout.h", "picture to patches"},
    {"merge_patches", "ops/layout.h", "2 x 2 tokens to one (Swin)"},
    {"resize", "ops/resize.h", "bilinear and bicubic resampling of grids, both antialias rules"},
    {"conv1d", "ops/conv1d.h", "same, causal, strided, dilated, grouped"},
    {"conv_transpose2d", "ops/conv_transpose2d.h", "the gradient of conv2d as a layer"},
    {"batch_norm", "ops/batch_norm.h", "with running statistics, channels second or last"},
    {"max_pool2d", "ops/pool2d.h", "largest of a kernel"},
    {"average_pool2d", "ops/pool2d.h", "mean of a kernel"},
    {"adaptive_average_pool2d", "ops/pool2d.h", "means of a grid of cells"},
    {"squeeze_excite", "ops/channel_gate.h", "channels gated by their means through two layers"},
    {"efficient_channel_attention", "ops/channel_gate.h", "channels gated by a convolution over their means"},
    {"relu", "ops/activation.h", "max(x, 0); also relu6, elu"},
    {"silu", "ops/activation.h", "x sigmoid(x), Swish; also sigmoid, tanh"},
    {"hard_swish", "ops/activation.h", "x relu6(x + 3) / 6; also hard_sigmoid"},
    {"quick_gelu", "ops/activation.h", "x sigmoid(1.702 x)"},
    {"glu", "ops/activation.h", "a sigmoid(b) on [a | b]"},
    {"multiply", "ops/arithmetic.h",
     "with broadcasting; also add_broadcast, affine, exp, clamp_max, sum_axis"},
    {"l2_normalize", "ops/arithmetic.h", "x / |x| over the last axis"},
    {"product", "ops/product.h",
     "batched matrix products on the tape; head_products with a table of vectors"},
    {"axis_products", "ops/axis_products.h", "rows against the vectors of their coordinates, for axis terms"},
    {"rotate", "ops/rotate.h", "pairs of channels turned by a table of angles: rotary encodings"},
    {"permute", "ops/rearrange.h", "axes in another order; also slice_axis, concat_axis"},
    {"gather_rows", "ops/rearrange.h", "rows of a table: embedding"},
};

}  // namespace locant::cli
