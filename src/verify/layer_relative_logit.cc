#include "core/error.h"
#include "nn/augmented_conv.h"
#include "nn/botnet.h"
#include "verify/layers.h"

namespace locant {

namespace {

OracleLayer augmented_conv(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NCHW");
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
  return of_first_input(AugmentedConv(w, options));
}

bool relative(const LayerArgs& args) {
  return args.choice("position", {"relative", "absolute"}) == "relative";
}

OracleLayer botnet_attention(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NCHW");
  const std::int64_t dim = args.integer("dim"), heads = args.integer("heads");
  require(heads >= 1, "verify", "{} heads", heads);
  return of_first_input(BotnetAttention(w, {dim, heads, args.integer("head_dim", dim / heads),
                                            args.integer("height"), args.integer("width"), relative(args)}));
}

BotnetBlock::Options block_options(const LayerArgs& args) {
  args.only("layout", "NCHW");
  args.only("act", "relu");
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
  return of_first_input(BotnetBlock(w, block_options(args)));
}

OracleLayer botnet_stack(const LayerArgs& args, const Weights& w) {
  return of_first_input(BotnetStack(w, block_options(args), args.integer("depth")));
}

}  // namespace

std::vector<LayerKind> relative_logit_layer_kinds() {
  return {{"augmented_conv", augmented_conv},
          {"botnet_attention", botnet_attention},
          {"botnet_block", botnet_block},
          {"botnet_stack", botnet_stack}};
}

}  // namespace locant
