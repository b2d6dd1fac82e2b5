#include "nn/gpsa.h"
#include "verify/layers.h"

namespace locant {

namespace {

OracleLayer gpsa(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  GpsaAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.qkv_bias = args.choice("qkv_bias", {"none", "full"}, "none") == "full";
  options.rows = args.integer("height");
  options.columns = args.integer("width");
  // Both are about the numbers, which the file gives: the local start as overrides.
  args.choice("init", {"formula", "local"}, "formula");
  args.number("locality_strength", 1.0);
  return of_first_input(GpsaAttention(w, options));
}

}  // namespace

std::vector<LayerKind> gpsa_layer_kinds() { return {{"gpsa", gpsa}}; }

}  // namespace locant
