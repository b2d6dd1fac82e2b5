#include "core/error.h"
#include "nn/conformer.h"
#include "verify/layers.h"

namespace locant {

namespace {

// What several of the layers have; keys that a file lacks keep their defaults.
ConformerOptions options_of(const LayerArgs& args) {
  const std::string layout = args.text("layout", "NLC"), act = args.text("act", "silu");
  require(layout == "NLC", "verify", "the layout \"{}\" is not NLC", layout);
  ConformerOptions options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads", 1);
  options.ffn_ratio = args.integer("ffn_ratio", options.ffn_ratio);
  options.kernel = args.integer("kernel", options.kernel);
  options.half_step = args.boolean("half_step", options.half_step);
  options.norm_eps = static_cast<float>(args.number("norm_eps", 1e-5));
  options.bn_eps = static_cast<float>(args.number("bn_eps", 1e-5));
  const std::int64_t expansion = args.integer("expansion", 2);
  require(expansion == 2, "verify", "an expansion of {}; after the gate it must be the width again, so 2",
          expansion);
  require(act == "silu", "verify", "the activation \"{}\" is not silu", act);
  return options;
}

void require_positions(const LayerArgs& args, const char* positions) {
  require(args.text("positions") == positions, "verify", "positions \"{}\" are not {}",
          args.text("positions"), positions);
}

OracleLayer relative_attention(const LayerArgs& args, const Weights& w) {
  require_positions(args, "input");
  std::vector<std::int64_t> lengths;
  if (args.has("key_lengths")) lengths = args.integers("key_lengths");
  // A forbidden key's weight is zero: exp(-1e9) underflows.
  require(!args.has("mask_value") || args.number("mask_value") <= -1e4, "verify",
          "a mask of {} leaves forbidden keys a weight", args.number("mask_value", 0.0));
  const ConformerRelativeAttention layer(w, options_of(args));
  return [layer, lengths](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), in.at(1), lengths)};
  };
}

template <class Layer>
OracleLayer of_input(const Layer& layer) {
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

OracleLayer attention_module(const LayerArgs& args, const Weights& w) {
  require_positions(args, "sinusoid_interleaved");
  return of_input(ConformerAttentionModule(w, options_of(args)));
}

OracleLayer conv_module(const LayerArgs& args, const Weights& w) {
  return of_input(ConformerConvModule(w, options_of(args)));
}

OracleLayer block(const LayerArgs& args, const Weights& w) {
  require_positions(args, "sinusoid_interleaved");
  return of_input(ConformerBlock(w, options_of(args)));
}

}  // namespace

std::vector<LayerKind> conformer_layer_kinds() {
  return {{"conformer_relative_attention", relative_attention},
          {"conformer_attention_module", attention_module},
          {"conformer_conv_module", conv_module},
          {"conformer_block", block}};
}

}  // namespace locant
