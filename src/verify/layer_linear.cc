#include <algorithm>

#include "core/error.h"
#include "nn/linear_attention.h"
#include "verify/layers.h"

namespace locant {

namespace {

OracleLayer linear_attention_layer(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  LinearAttentionLayer::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  const std::string map = args.text("feature_map");
  options.map = feature_map(map == "elu_plus_one" ? "elu" : map,
                            std::max(args.integer("q_len", 1), args.integer("k_len", 1)));
  options.causal = args.boolean("causal", false);
  options.eps = static_cast<float>(args.number("eps"));
  options.qkv_bias = args.choice("qkv_bias", {"full", "none"}, "full") == "full";
  const std::vector<std::string> names = args.texts("projections");
  const bool projects = args.boolean("output_projection", false);
  require(names.size() == (projects ? 4u : 3u), "verify",
          "{} names of projections; there must be those of q, k and v, and of the output if it is projected",
          names.size());
  std::copy_n(names.begin(), 3, options.projections.begin());
  options.out_projection = projects ? names[3] : "";
  const LinearAttentionLayer layer(w, options);
  return [layer, lengths = key_lengths_of(args)](const Context& ctx, const std::vector<Var>& in) {
    const Var& x = input_at(in, 0);
    return std::vector<Var>{layer(ctx, x, in.size() > 1 ? in[1] : x, lengths)};
  };
}

}  // namespace

std::vector<LayerKind> linear_layer_kinds() { return {{"linear_attention", linear_attention_layer}}; }

}  // namespace locant
