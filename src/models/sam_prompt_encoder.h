#pragma once

#include <cstdint>

#include "nn/conv_layers.h"
#include "nn/layers.h"

namespace locant {

/// What the user points at, in the encoder's frame (the resized and padded picture, in pixels). Undefined
/// parts are absent.
struct SamPrompts {
  Tensor points = {};  ///< (B, P, 2), x and y
  Tensor labels = {};  ///< (B, P): 1 inside, 0 outside, -1 no point
  Tensor boxes = {};   ///< (B, 4), x0 y0 x1 y1
  Var mask = {};       ///< (B, 1, 4 rows, 4 columns): logits of an earlier answer
  /// Throws Error unless the parts agree on B and labels are -1, 0 or 1. 1 when nothing is given.
  std::int64_t batch() const;
};

struct SamPromptEmbedding {
  Var sparse = {};  ///< (B, S, C): points, then the two corners of the box; S may be 0
  Var dense = {};   ///< (B, rows * columns, C), or (1, 1, C) where no mask is given
};

/// Prompts as vectors: Kirillov et al. 2023, appendix A (prompt_encoder.py). Random Fourier features of the
/// coordinates, with u = 2 (x, y) / side - 1:
///
///   PE = [sin 2 pi u G | cos 2 pi u G],  G (2, C / 2) a stored random matrix
///
/// plus a learned vector a kind of point; masks go through three convolutions. Names `pe_layer.*`,
/// `point_embeddings.0` to `.3` (outside, inside, first and second corner), `not_a_point_embed`,
/// `no_mask_embed`, `mask_downscaling.*`.
class SamPromptEncoder {
 public:
  struct Options {
    std::int64_t rows = 64, columns = 64;                  ///< of the image embedding
    std::int64_t image_rows = 1024, image_columns = 1024;  ///< of the encoder's frame
    std::int64_t width = 256, mask_chans = 16;
    float norm_eps = 1e-6f;
  };
  SamPromptEncoder() = default;
  SamPromptEncoder(const Weights& w, const Options& options);

  /// Shows "<path>.mask_downscaling". Throws Error when shapes do not fit.
  SamPromptEmbedding operator()(const Context& ctx, const SamPrompts& prompts) const;
  /// PE of the places of the embedding, (1, rows * columns, C).
  Tensor image_positions() const;
  const Options& options() const { return options_; }

 private:
  void put_positions(double x, double y, float* to) const;
  Var points(const Context& ctx, const SamPrompts& prompts) const;
  Var downscaled(const Context& ctx, const Var& mask) const;

  std::string path_;
  Options options_;
  Var matrix_;  // (2, C / 2)
  Var kinds_[4], not_a_point_, no_mask_;
  Conv2d conv1_, conv2_, conv3_;
  LayerNorm norm1_, norm2_;
};

}  // namespace locant
