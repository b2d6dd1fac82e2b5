#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/sam_prompt_encoder.h"
#include "models/sam_upscaling.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"

namespace locant {

/// Masks and their predicted quality.
struct SamMasks {
  Var masks = {};  ///< (B, M, 4 rows, 4 columns), logits
  Var iou = {};    ///< (B, M), predicted intersection over union; raw, may leave [0, 1]
};

struct SamMaskDecoderConfig {
  Pair grid = {64, 64};  ///< of the image embedding
  std::int64_t dim = 256, depth = 2, heads = 8, mlp_dim = 2048;
  std::int64_t downsample_rate = 2;  ///< of the width within attention between tokens and image
  std::int64_t mask_tokens = 4;      ///< the first for a single answer, the others for several
  std::int64_t iou_depth = 3, iou_hidden = 256;
  float norm_eps = 1e-5f, upscale_norm_eps = 1e-6f;
};
void fields(ConfigReader& reader, SamMaskDecoderConfig& config);
void fields(ConfigWriter& writer, const SamMaskDecoderConfig& config);
void fields(ConfigPrint& print, const SamMaskDecoderConfig& config);
void check(const std::string& op, const SamMaskDecoderConfig& config);

/// All of its fields but grid and dim, which follow from the rest in a whole Segment Anything.
template <class Archive, class Config>
void sam_decoder_fields(Archive& archive, Config& config) {
  archive.field("depth", config.depth, range(1, 64));
  archive.field("heads", config.heads, range(1, 1024));
  archive.field("mlp_dim", config.mlp_dim, at_least(1));
  archive.field("downsample_rate", config.downsample_rate, range(1, 1024));
  archive.field("mask_tokens", config.mask_tokens, range(2, 64));
  archive.field("iou_depth", config.iou_depth, range(1, 64));
  archive.field("iou_hidden", config.iou_hidden, at_least(1));
  archive.field("norm_eps", config.norm_eps);
  archive.field("upscale_norm_eps", config.upscale_norm_eps);
}

/// How many masks a call asks for: the input multimask_output.
struct SamMultimask {
  static constexpr const char* kName = "multimask_output";
  static Port port();
  /// Not given: one.
  static bool of(const Values& inputs);
};

/// Masks from an image's embedding and prompts: Kirillov et al. 2023, appendix A (mask_decoder.py,
/// transformer.py). Tokens [iou | masks | prompts] and the image attend to each other in two layers; each
/// mask token becomes, by an MLP of its own, a vector that meets the upscaled image. run() takes the image,
/// its positions and the dense prompts as pictures.
class SamMaskDecoder final : public ModelOf<SamMaskDecoderConfig> {
 public:
  SamMaskDecoder(const Family& family, SamMaskDecoderConfig config, const Weights& w);
  std::vector<Port> inputs() const override;
  std::vector<Port> outputs() const override;
  static std::vector<std::string> call_options() { return {SamMultimask::kName}; }

  /// image: embedding (1 or B, rows * columns, C). positions: of its places, (1, rows * columns, C).
  /// `several`: mask tokens 1, 2, .. instead of 0. Shows "<path>.transformer.*" and
  /// "<path>.output_upscaling". Without a tape many prompts are answered a few at a time, so that memory does
  /// not grow with B. Throws Error when shapes do not fit.
  SamMasks operator()(const Context& ctx, const Var& image, const Var& positions,
                      const SamPromptEmbedding& prompts, bool several) const;

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

  Values compute(const Context& ctx, const Values& in) const override;
  Attention attention_at(const Weights& w, std::int64_t inner) const;
  static Var run_chain(const Context& ctx, const Chain& chain, Var x);
  void run_layer(const Context& ctx, std::size_t index, State& state) const;
  SamMasks answer(const Context& ctx, const Var& image, const Var& positions,
                  const SamPromptEmbedding& prompts, bool several) const;

  std::string path_;
  std::vector<Layer> layers_;
  Attention final_attention_;
  LayerNorm final_norm_;
  Var iou_token_, mask_tokens_;
  SamUpscaling upscaling_;
  std::vector<Chain> hyper_;
  Chain iou_head_;
};

}  // namespace locant
