#include <algorithm>

#include "core/error.h"
#include "nn/linear_attention.h"
#include "verify/layers.h"

namespace locant {

namespace {

OracleLayer linear_attention_layer(const LayerArgs& args, const Weights& w) {
  const std::string layout = args.text("layout", "NLC");
  require(layout == "NLC", "verify", "the layout \"{}\" is not NLC", layout);
  LinearAttentionLayer::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  const std::string map = args.text("feature_map");
  options.map = feature_map(map == "elu_plus_one" ? "elu" : map,
                            std::max(args.integer("q_len", 1), args.integer("k_len", 1)));
  options.causal = args.boolean("causal", false);
  options.eps = static_cast<float>(args.number("eps"));
  const std::string bias = args.text("qkv_bias", "full");
  require(bias == "full" || bias == "none", "verify", "the qkv_bias \"{}\" is neither none nor full", bias);
  options.qkv_bias = bias == "full";
  const std::vector<std::string> names = args.texts("projections");
  const bool projects = args.boolean("output_projection", false);
  require(names.size() == (projects ? 4u : 3u), "verify",
          "{} names of projections; there must be those of q, k and v, and of the output if it is projected",
          names.size());
  std::copy_n(names.begin(), 3, options.projections.begin());
  options.out_projection = projects ? names[3] : "";
  std::vector<std::int64_t> lengths;
  if (args.has("key_lengths")) lengths = args.integers("key_lengths");
  const LinearAttentionLayer layer(w, options);
  return [layer, lengths](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), in.size() > 1 ? in[1] : in[0], lengths)};
  };
}

}  // namespace

std::vector<LayerKind> linear_layer_kinds() { return {{"linear_attention", linear_attention_layer}}; }

}  // namespace locant
