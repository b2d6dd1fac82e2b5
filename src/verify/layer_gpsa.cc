#include "core/error.h"
#include "nn/gpsa.h"
#include "verify/layers.h"

namespace locant {

namespace {

OracleLayer gpsa(const LayerArgs& args, const Weights& w) {
  GpsaAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  const std::string bias = args.text("qkv_bias", "none");
  require(bias == "none" || bias == "full", "verify", "the qkv_bias \"{}\" is neither none nor full", bias);
  options.qkv_bias = bias == "full";
  options.rows = args.integer("height");
  options.columns = args.integer("width");
  // Both are about the numbers, which the file gives: the local start as overrides.
  const std::string init = args.text("init", "formula");
  require(init == "formula" || init == "local", "verify", "the init \"{}\" is neither formula nor local",
          init);
  args.number("locality_strength", 1.0);
  const GpsaAttention layer(w, options);
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

}  // namespace

std::vector<LayerKind> gpsa_layer_kinds() { return {{"gpsa", gpsa}}; }

}  // namespace locant
