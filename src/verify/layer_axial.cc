#include "nn/axial_attention.h"
#include "verify/layers.h"

namespace locant {

namespace {

OracleLayer axial_attention(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NCHW");
  AxialAttention::Options options;
  options.in = args.integer("in_dim");
  options.out = args.integer("out_dim");
  options.groups = args.integer("groups");
  options.span = args.integer("span");
  options.stride = args.integer("stride", 1);
  options.axis = args.choice("axis", {"height", "width"}) == "height" ? GridAxis::rows : GridAxis::columns;
  options.bn_eps = static_cast<float>(args.number("bn_eps", 1e-5));
  return of_first_input(AxialAttention(w, options));
}

OracleLayer axial_block(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NCHW");
  args.only("act", "relu");
  AxialBlock::Options options;
  options.in = args.integer("in_dim");
  options.planes = args.integer("dim");
  options.expansion = args.integer("expansion");
  options.base_width = args.integer("base_width");
  options.groups = args.integer("groups");
  options.span = args.integer("span");
  options.stride = args.integer("stride", 1);
  options.downsample = args.boolean("downsample", false);
  options.bn_eps = static_cast<float>(args.number("bn_eps", 1e-5));
  return of_first_input(AxialBlock(w, options));
}

}  // namespace

std::vector<LayerKind> axial_layer_kinds() {
  return {{"axial_attention", axial_attention}, {"axial_block", axial_block}};
}

}  // namespace locant
