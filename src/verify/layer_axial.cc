#include "core/error.h"
#include "nn/axial_attention.h"
#include "verify/layers.h"

namespace locant {

namespace {

void require_images(const LayerArgs& args) {
  const std::string layout = args.text("layout", "NCHW");
  require(layout == "NCHW", "verify", "the layout \"{}\" is not NCHW", layout);
}

OracleLayer axial_attention(const LayerArgs& args, const Weights& w) {
  require_images(args);
  const std::string axis = args.text("axis");
  require(axis == "height" || axis == "width", "verify", "unknown axis \"{}\"; there are height and width",
          axis);
  AxialAttention::Options options;
  options.in = args.integer("in_dim");
  options.out = args.integer("out_dim");
  options.groups = args.integer("groups");
  options.span = args.integer("span");
  options.stride = args.integer("stride", 1);
  options.axis = axis == "height" ? GridAxis::rows : GridAxis::columns;
  options.bn_eps = static_cast<float>(args.number("bn_eps", 1e-5));
  const AxialAttention layer(w, options);
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

OracleLayer axial_block(const LayerArgs& args, const Weights& w) {
  require_images(args);
  const std::string act = args.text("act", "relu");
  require(act == "relu", "verify", "the activation \"{}\" is not relu", act);
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
  const AxialBlock layer(w, options);
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

}  // namespace

std::vector<LayerKind> axial_layer_kinds() {
  return {{"axial_attention", axial_attention}, {"axial_block", axial_block}};
}

}  // namespace locant
