#include "core/error.h"
#include "nn/sasa.h"
#include "verify/layers.h"

namespace locant {

namespace {

SasaOptions sasa_options(const LayerArgs& args) {
  args.only("layout", "NCHW");
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
  return of_first_input(SasaConv(w, sasa_options(args)));
}

OracleLayer sasa_stem(const LayerArgs& args, const Weights& w) {
  return of_first_input(SasaStem(w, sasa_options(args), args.integer("mixtures")));
}

}  // namespace

std::vector<LayerKind> local_layer_kinds() { return {{"sasa_conv", sasa_conv}, {"sasa_stem", sasa_stem}}; }

}  // namespace locant
