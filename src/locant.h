#pragma once

// Everything a user of the library needs, in namespace locant. README.md shows it in use.

#include "autograd/tape.h"         // Var, Tape, Context
#include "core/error.h"            // Error
#include "core/parallel.h"         // num_threads, set_num_threads
#include "core/pool.h"             // memory held for reuse
#include "core/profile.h"          // time per kind of layer
#include "core/rng.h"              // Rng
#include "core/shape.h"            // Shape
#include "core/spin.h"             // shorten_spinning
#include "core/tensor.h"           // Tensor
#include "core/version.h"          // version
#include "io/image.h"              // Image, read_image, write_png
#include "io/labels.h"             // Labels, read_labels
#include "io/pil_resize.h"         // pil_resize
#include "io/preprocess.h"         // Preprocess
#include "io/tensor_file.h"        // TensorFile, write_safetensors
#include "models/classify.h"       // classify
#include "models/load.h"           // load_model, save_model
#include "models/model.h"          // Model, Features
#include "models/registry.h"       // find_model, make_model
#include "models/sam.h"            // Sam, load_sam
#include "nn/layers.h"             // Linear, LayerNorm, Mlp, PatchEmbed
#include "nn/weights.h"            // Weights
#include "ops/activation.h"        // relu, silu, glu, ...
#include "ops/arithmetic.h"        // multiply, affine, sum_axis, ...
#include "ops/attention.h"         // attention, attention_composed
#include "ops/axis_products.h"     // axis_products
#include "ops/batch_norm.h"        // batch_norm
#include "ops/channel_gate.h"      // squeeze_excite, efficient_channel_attention
#include "ops/conv1d.h"            // conv1d
#include "ops/conv2d.h"            // conv2d
#include "ops/conv_transpose2d.h"  // conv_transpose2d
#include "ops/elementwise.h"       // gelu, add, dropout, ...
#include "ops/layout.h"            // patchify, mean_pool, ...
#include "ops/linear.h"            // linear
#include "ops/linear_attention.h"  // linear_attention
#include "ops/loss.h"
#include "ops/mask_loss.h"          // cross_entropy
#include "ops/matmul.h"             // matmul
#include "ops/norm.h"               // layer_norm
#include "ops/pool2d.h"             // max_pool2d, average_pool2d, ...
#include "ops/product.h"            // product, head_products
#include "ops/rearrange.h"          // permute, slice_axis, concat_axis, gather_rows
#include "ops/resize.h"             // resize
#include "ops/rotate.h"             // rotate
#include "ops/separable_softmax.h"  // separable_softmax, gated_sum
#include "ops/softmax.h"            // softmax
#include "position/absolute_3d.h"
#include "position/alibi.h"
#include "position/all.h"  // encodings
#include "position/axial_concat.h"
#include "position/axial_deeplab.h"
#include "position/beit_bias.h"
#include "position/complexity.h"  // complexity
#include "position/conformer.h"
#include "position/conv_ff.h"
#include "position/conv_projection.h"
#include "position/cosine_attention.h"
#include "position/deberta.h"
#include "position/decomposed.h"
#include "position/dense_bias.h"
#include "position/dynamic_bias.h"
#include "position/fourier.h"
#include "position/global_subsampled.h"
#include "position/gpsa.h"
#include "position/huang2020.h"
#include "position/irpe.h"
#include "position/joint_2d.h"
#include "position/kerple.h"
#include "position/learned_absolute.h"
#include "position/levit_bias.h"
#include "position/linear_attention.h"
#include "position/music_transformer.h"
#include "position/natten.h"
#include "position/peg.h"
#include "position/relative_logits.h"
#include "position/rope.h"
#include "position/rope_2d.h"
#include "position/sasa.h"
#include "position/shaw.h"
#include "position/sincos.h"
#include "position/sinusoidal_1d.h"
#include "position/spatial_reduction.h"
#include "position/swin_bias.h"
#include "position/swin_v2_cpb.h"
#include "position/t5_bucket.h"
#include "position/temporal_bias.h"
#include "position/transformer_xl.h"
#include "position/video_swin_bias.h"
#include "segment/mask_generator.h"  // MaskGenerator
#include "segment/predictor.h"       // SamPredictor
#include "simd/isa.h"                // active_isa
#include "train/train.h"             // training loop
#include "verify/verify.h"           // verify_file
