#include "core/error.h"
#include "models/sam_mask_decoder.h"
#include "models/sam_prompt_encoder.h"
#include "ops/arithmetic.h"
#include "ops/rearrange.h"
#include "verify/layers.h"

namespace locant {

namespace {

OracleLayer prompt_encoder(const LayerArgs& args, const Weights& w) {
  const auto grid = args.integers("grid", 2), image = args.integers("img_size", 2);
  args.only("act", "gelu");
  const std::vector<std::string> given = args.texts("inputs");
  require(args.texts("outputs") == std::vector<std::string>({"sparse", "dense", "dense_pe"}), "verify",
          "outputs are not sparse, dense, dense_pe");
  const SamPromptEncoder encoder(w, {.rows = grid[0],
                                     .columns = grid[1],
                                     .image_rows = image[0],
                                     .image_columns = image[1],
                                     .width = args.integer("dim"),
                                     .mask_chans = args.integer("mask_chans"),
                                     .norm_eps = static_cast<float>(args.number("norm_eps"))});
  return [encoder, given](const Context& ctx, const std::vector<Var>& in) {
    SamPrompts prompts;
    for (std::size_t n = 0; n < given.size(); ++n) {
      const Var& value = input_at(in, n);
      if (given[n] == "points")
        prompts.points = value.value();
      else if (given[n] == "labels")
        prompts.labels = value.value();
      else if (given[n] == "boxes")
        prompts.boxes = value.value();
      else if (given[n] == "mask_input")
        prompts.mask = value;
      else
        fail("verify", "no prompt is called {}", given[n]);
    }
    const auto& o = encoder.options();
    const SamPromptEmbedding out = encoder(ctx, prompts);
    const Var zeros(Tensor::zeros({prompts.batch(), o.rows * o.columns, o.width}));
    return std::vector<Var>{out.sparse,
                            tokens_to_images(ctx, add_broadcast(ctx, zeros, out.dense), o.rows, o.columns),
                            tokens_to_images(ctx, Var(encoder.image_positions()), o.rows, o.columns)};
  };
}

OracleLayer mask_decoder(const LayerArgs& args, const Weights& w) {
  const auto grid = args.integers("grid", 2);
  args.only("act", "relu");
  args.only("upscale_act", "gelu");
  require(args.texts("inputs") == std::vector<std::string>({"input", "image_pe", "sparse", "dense"}) &&
              args.texts("outputs") == std::vector<std::string>({"masks", "iou"}),
          "verify", "inputs are not input, image_pe, sparse, dense, or outputs not masks, iou");
  const SamMaskDecoder decoder(w, {.width = args.integer("dim"),
                                   .depth = args.integer("depth"),
                                   .heads = args.integer("heads"),
                                   .mlp_width = args.integer("mlp_dim"),
                                   .downsample = args.integer("downsample_rate"),
                                   .mask_tokens = args.integer("mask_tokens"),
                                   .iou_width = args.integer("iou_hidden"),
                                   .iou_depth = args.integer("iou_depth"),
                                   .norm_eps = static_cast<float>(args.number("norm_eps")),
                                   .upscale_norm_eps = static_cast<float>(args.number("upscale_norm_eps"))});
  return [decoder, grid, several = args.boolean("multimask_output")](const Context& ctx,
                                                                     const std::vector<Var>& in) {
    const SamPromptEmbedding prompts{input_at(in, 2), images_to_tokens(ctx, input_at(in, 3))};
    const SamMasks out = decoder(ctx, images_to_tokens(ctx, input_at(in, 0)),
                                 images_to_tokens(ctx, input_at(in, 1)), prompts, grid[0], grid[1], several);
    return std::vector<Var>{out.masks, out.iou};
  };
}

}  // namespace

std::vector<LayerKind> sam_layer_kinds() {
  return {{"sam_prompt_encoder", prompt_encoder}, {"sam_mask_decoder", mask_decoder}};
}

}  // namespace locant
