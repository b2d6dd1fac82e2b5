#pragma once

// Everything a user of the library needs, in namespace locant. README.md shows it in use.

#include "autograd/tape.h"        // Var, Tape, Context
#include "core/error.h"           // Error
#include "core/parallel.h"        // num_threads, set_num_threads
#include "core/pool.h"            // memory held for reuse
#include "core/profile.h"         // time per kind of layer
#include "core/rng.h"             // Rng
#include "core/shape.h"           // Shape
#include "core/tensor.h"          // Tensor
#include "core/version.h"         // version
#include "io/image.h"             // Image, read_image, write_png
#include "io/pil_resize.h"        // pil_resize
#include "io/preprocess.h"        // Preprocess
#include "io/tensor_file.h"       // TensorFile, write_safetensors
#include "models/classify.h"      // classify
#include "models/load.h"          // load_model, save_model
#include "models/model.h"         // Model, Features
#include "models/registry.h"      // find_model, make_model
#include "nn/layers.h"            // Linear, LayerNorm, Mlp, PatchEmbed
#include "nn/weights.h"           // Weights
#include "ops/attention.h"        // attention, attention_composed
#include "ops/conv2d.h"           // conv2d
#include "ops/elementwise.h"      // gelu, add, dropout, ...
#include "ops/layout.h"           // patchify, mean_pool, ...
#include "ops/linear.h"           // linear
#include "ops/loss.h"             // cross_entropy
#include "ops/matmul.h"           // matmul
#include "ops/norm.h"             // layer_norm
#include "ops/product.h"          // product, head_products
#include "ops/resize.h"           // resize
#include "ops/softmax.h"          // softmax
#include "position/all.h"         // encodings
#include "position/complexity.h"  // complexity
#include "position/learned_absolute.h"
#include "position/sincos.h"
#include "position/swin_bias.h"
#include "simd/isa.h"       // active_isa
#include "train/train.h"    // training loop
#include "verify/verify.h"  // verify_file
