#pragma once

#include <cstdint>
#include <vector>

#include "models/sam_prompt_encoder.h"
#include "models/sam_upscaling.h"
#include "nn/layers.h"
#include "ops/attention.h"

namespace locant {

/// Masks and their predicted quality.
struct SamMasks {
  Var masks = {};  ///< (B, M, 4 rows, 4 columns), logits
  Var iou = {};    ///< (B, M), predicted intersection over union; raw, may leave [0, 1]
};

/// Masks from an image's embedding and prompts: Kirillov et al. 2023, appendix A (mask_decoder.py,
/// transformer.py). Tokens [iou | masks | prompts] and the image attend to each other in two layers; each
/// mask token becomes, by an MLP of its own, a vector that meets the upscaled image.
class SamMaskDecoder {
 public:
  struct Options {
    std::int64_t width = 256, depth = 2, heads = 8, mlp_width = 2048;
    std::int64_t downsample = 2;   ///< of the width within attention between tokens and image
    std::int64_t mask_tokens = 4;  ///< the first for a single answer, the others for several
    std::int64_t iou_width = 256, iou_depth = 3;
    float norm_eps = 1e-5f, upscale_norm_eps = 1e-6f;
  };
  SamMaskDecoder() = default;
  SamMaskDecoder(const Weights& w, const Options& options);

  /// image: embedding (1 or B, rows * columns, C). positions: of its places, (1, rows * columns, C).
  /// `several`: mask tokens 1, 2, .. instead of 0. Shows "<path>.transformer.*" and
  /// "<path>.output_upscaling". Without a tape many prompts are answered a few at a time, so that memory does
  /// not grow with B. Throws Error when shapes do not fit.
  SamMasks operator()(const Context& ctx, const Var& image, const Var& positions,
                      const SamPromptEmbedding& prompts, std::int64_t rows, std::int64_t columns,
                      bool several) const;

 private:
  /// q, k and v projected, attended to and projected back. Queries, or keys and values, may be of one sample
  /// that all share (and the residual with the queries): it is projected once.
  struct Attention {
    Linear q, k, v, out;
    std::int64_t heads = 1;
    Var operator()(const Context& ctx, const Var& queries, const Var& keys, const Var& values,
                   const Var& residual) const;
  };
  /// Linear layers with a ReLU between.
  using Chain = std::vector<Linear>;
  struct Layer {
    Attention self, to_image, to_tokens;
    LayerNorm norm1, norm2, norm3, norm4;
    Linear lin1, lin2;
  };
  /// What passes through the transformer.
  struct State {
    Var tokens, image;                     // (B, T, C); (B, N, C), or (1, N, C) while all share it
    Var token_positions, image_positions;  // the first tokens; (1, N, C)
  };

  Attention attention_at(const Weights& w, std::int64_t inner) const;
  static Var run(const Context& ctx, const Chain& chain, Var x);
  void run_layer(const Context& ctx, std::size_t index, State& state) const;
  SamMasks answer(const Context& ctx, const Var& image, const Var& positions,
                  const SamPromptEmbedding& prompts, std::int64_t rows, std::int64_t columns,
                  bool several) const;

  std::string path_;
  Options options_;
  std::vector<Layer> layers_;
  Attention final_attention_;
  LayerNorm final_norm_;
  Var iou_token_, mask_tokens_;
  SamUpscaling upscaling_;
  std::vector<Chain> hyper_;
  Chain iou_head_;
};

}  // namespace locant
