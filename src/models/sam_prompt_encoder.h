#pragma once

#include <cstdint>

#include "models/model.h"
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
  /// Of a model's inputs points, labels, boxes and mask_input.
  static SamPrompts from(const Values& inputs);
  static std::vector<Port> ports();
  bool empty() const { return !points.defined() && !boxes.defined() && !mask.defined(); }
  /// Throws Error unless the parts agree on B and labels are -1, 0 or 1. 1 when nothing is given.
  std::int64_t batch() const;
};

struct SamPromptEmbedding {
  Var sparse = {};  ///< (B, S, C): points, then the two corners of the box; S may be 0
  Var dense = {};   ///< (B, rows * columns, C), or (1, 1, C) where no mask is given
};

struct SamPromptEncoderConfig {
  Pair grid = {64, 64};          ///< of the image embedding
  Pair img_size = {1024, 1024};  ///< of the encoder's frame
  std::int64_t dim = 256, mask_chans = 16;
  float norm_eps = 1e-6f;
};
void fields(ConfigReader& reader, SamPromptEncoderConfig& config);
void fields(ConfigWriter& writer, const SamPromptEncoderConfig& config);
void fields(ConfigPrint& print, const SamPromptEncoderConfig& config);
void check(const std::string& op, const SamPromptEncoderConfig& config);

/// Prompts as vectors: Kirillov et al. 2023, appendix A (prompt_encoder.py). Random Fourier features of the
/// coordinates, with u = 2 (x, y) / side - 1:
///
///   PE = [sin 2 pi u G | cos 2 pi u G],  G (2, C / 2) a stored random matrix
///
/// plus a learned vector a kind of point; masks go through three convolutions. Names `pe_layer.*`,
/// `point_embeddings.0` to `.3` (outside, inside, first and second corner), `not_a_point_embed`,
/// `no_mask_embed`, `mask_downscaling.*`. run() gives the dense prompts and image_positions() as pictures.
class SamPromptEncoder final : public ModelOf<SamPromptEncoderConfig> {
 public:
  SamPromptEncoder(const Family& family, SamPromptEncoderConfig config, const Weights& w);
  std::vector<Port> inputs() const override { return SamPrompts::ports(); }
  std::vector<Port> outputs() const override;

  /// Shows "<path>.mask_downscaling". Throws Error when shapes do not fit.
  SamPromptEmbedding operator()(const Context& ctx, const SamPrompts& prompts) const;
  /// PE of the places of the embedding, (1, rows * columns, C).
  Tensor image_positions() const;

 private:
  Values compute(const Context& ctx, const Values& in) const override;
  void put_positions(double x, double y, float* to) const;
  Var points(const Context& ctx, const SamPrompts& prompts) const;
  Var downscaled(const Context& ctx, const Var& mask) const;

  std::string path_;
  Var matrix_;  // (2, C / 2)
  Var kinds_[4], not_a_point_, no_mask_;
  Conv2d conv1_, conv2_, conv3_;
  LayerNorm norm1_, norm2_;
};

}  // namespace locant
