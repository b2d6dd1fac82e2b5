#include "core/error.h"
#include "nn/augmented_conv.h"
#include "nn/botnet.h"
#include "verify/layers.h"

namespace locant {

namespace {

void require_images(const LayerArgs& args) {
  const std::string layout = args.text("layout", "NCHW");
  require(layout == "NCHW", "verify", "the layout \"{}\" is not NCHW", layout);
}

template <class Layer>
OracleLayer on_first_input(const Layer& layer) {
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

OracleLayer augmented_conv(const LayerArgs& args, const Weights& w) {
  require_images(args);
  AugmentedConv::Options options;
  options.in = args.integer("in_dim");
  options.out = args.integer("out_dim");
  options.kernel = args.integer("kernel");
  options.stride = args.integer("stride");
  options.pad = args.integer("pad");
  options.dk = args.integer("dk");
  options.dv = args.integer("dv");
  options.heads = args.integer("heads");
  options.relative = args.boolean("relative");
  options.rows = args.integer("out_height");
  options.columns = args.integer("out_width");
  return on_first_input(AugmentedConv(w, options));
}

bool relative(const LayerArgs& args) {
  const std::string position = args.text("position");
  require(position == "relative" || position == "absolute", "verify",
          "unknown position \"{}\"; there are relative and absolute", position);
  return position == "relative";
}

OracleLayer botnet_attention(const LayerArgs& args, const Weights& w) {
  require_images(args);
  const std::int64_t dim = args.integer("dim"), heads = args.integer("heads");
  require(heads >= 1, "verify", "{} heads", heads);
  return on_first_input(BotnetAttention(w, {dim, heads, args.integer("head_dim", dim / heads),
                                            args.integer("height"), args.integer("width"), relative(args)}));
}

BotnetBlock::Options block_options(const LayerArgs& args) {
  require_images(args);
  const std::string act = args.text("act", "relu");
  require(act == "relu", "verify", "the activation \"{}\" is not relu", act);
  BotnetBlock::Options options;
  options.in = args.integer("dim");
  options.out = args.integer("out_dim");
  options.proj_factor = args.integer("proj_factor");
  options.heads = args.integer("heads");
  options.head_width = args.integer("head_dim");
  options.rows = args.integer("height");
  options.columns = args.integer("width");
  options.relative = relative(args);
  options.downsample = args.boolean("downsample");
  options.bn_eps = static_cast<float>(args.number("bn_eps", 1e-5));
  return options;
}

OracleLayer botnet_block(const LayerArgs& args, const Weights& w) {
  return on_first_input(BotnetBlock(w, block_options(args)));
}

OracleLayer botnet_stack(const LayerArgs& args, const Weights& w) {
  return on_first_input(BotnetStack(w, block_options(args), args.integer("depth")));
}

}  // namespace

std::vector<LayerKind> relative_logit_layer_kinds() {
  return {{"augmented_conv", augmented_conv},
          {"botnet_attention", botnet_attention},
          {"botnet_block", botnet_block},
          {"botnet_stack", botnet_stack}};
}

}  // namespace locant
