#include "core/error.h"
#include "nn/sasa.h"
#include "verify/layers.h"

namespace locant {

namespace {

SasaOptions sasa_options(const LayerArgs& args) {
  const std::string layout = args.text("layout", "NCHW");
  require(layout == "NCHW", "verify", "the layout \"{}\" is not NCHW", layout);
  require(args.integer("stride", 1) == 1, "verify", "a stride of {}; local attention keeps the map's size",
          args.integer("stride", 1));
  SasaOptions options;
  options.in = args.integer("in_dim");
  options.out = args.integer("out_dim");
  options.kernel = args.integer("kernel");
  options.pad = args.integer("pad");
  options.groups = args.integer("groups", 1);
  options.bias = args.boolean("bias", false);
  return options;
}

OracleLayer sasa_conv(const LayerArgs& args, const Weights& w) {
  const SasaConv layer(w, sasa_options(args));
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

OracleLayer sasa_stem(const LayerArgs& args, const Weights& w) {
  const SasaStem layer(w, sasa_options(args), args.integer("mixtures"));
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

}  // namespace

std::vector<LayerKind> local_layer_kinds() { return {{"sasa_conv", sasa_conv}, {"sasa_stem", sasa_stem}}; }

}  // namespace locant
