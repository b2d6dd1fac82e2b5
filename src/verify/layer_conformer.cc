#include "core/error.h"
#include "nn/conformer.h"
#include "verify/layers.h"

namespace locant {

namespace {

// What several of the layers have; keys that a file lacks keep their defaults.
ConformerOptions options_of(const LayerArgs& args) {
  args.only("layout", "NLC");
  args.only("act", "silu");
  ConformerOptions options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads", 1);
  options.ffn_dim = options.width * args.integer("ffn_ratio", 4);
  options.kernel = args.integer("kernel", options.kernel);
  options.half_step = args.boolean("half_step", options.half_step);
  options.norm_eps = static_cast<float>(args.number("norm_eps", 1e-5));
  options.bn_eps = static_cast<float>(args.number("bn_eps", 1e-5));
  const std::int64_t expansion = args.integer("expansion", 2);
  require(expansion == 2, "verify", "an expansion of {}; after the gate it must be the width again, so 2",
          expansion);
  return options;
}

OracleLayer relative_attention(const LayerArgs& args, const Weights& w) {
  args.choice("positions", {"input"});
  require_hiding_mask(args);
  const ConformerRelativeAttention layer(w, options_of(args));
  return [layer, lengths = key_lengths_of(args)](const Context& ctx, const std::vector<Var>& in) {
    ConformerCall call;
    call.key_lengths = lengths;
    call.positions = input_at(in, 1);
    return std::vector<Var>{layer(ctx, input_at(in, 0), call)};
  };
}

// A layer that makes its positions itself.
template <class Layer>
OracleLayer placed(const LayerArgs& args, const Weights& w) {
  args.choice("positions", {"sinusoid_interleaved"});
  const ConformerOptions options = options_of(args);
  return [layer = Layer(w, options), options](const Context& ctx, const std::vector<Var>& in) {
    const Var& x = input_at(in, 0);
    return std::vector<Var>{layer(ctx, x, conformer_call(options, x.dim(1)))};
  };
}

OracleLayer conv_module(const LayerArgs& args, const Weights& w) {
  return of_first_input(ConformerConvModule(w, options_of(args)));
}

}  // namespace

std::vector<LayerKind> conformer_layer_kinds() {
  return {{"conformer_relative_attention", relative_attention},
          {"conformer_attention_module", placed<ConformerAttentionModule>},
          {"conformer_conv_module", conv_module},
          {"conformer_block", placed<ConformerBlock>}};
}

}  // namespace locant
