#include "core/error.h"
#include "nn/lca_block.h"
#include "nn/leff.h"
#include "nn/locality_ff.h"
#include "nn/locally_grouped_attention.h"
#include "nn/peg.h"
#include "nn/spatial_reduction_attention.h"
#include "verify/layers.h"

namespace locant {

namespace {

Grid grid_of(const LayerArgs& args) { return {1, args.integer("height"), args.integer("width")}; }

float eps(const LayerArgs& args, const char* key) { return static_cast<float>(args.number(key)); }

OracleLayer peg_layer(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  PegLayer::Options options;
  options.width = args.integer("dim");
  options.kernel = args.integer("kernel");
  options.stride = args.integer("stride", 1);
  options.residual = args.boolean("residual");
  const std::int64_t pad = args.integer("pad");
  require(pad == options.kernel / 2, "verify", "a padding of {} for a kernel of {}; half of it was expected",
          pad, options.kernel);
  return
      [layer = PegLayer(w, options), grid = grid_of(args)](const Context& ctx, const std::vector<Var>& in) {
        return std::vector<Var>{layer(ctx, input_at(in, 0), grid)};
      };
}

OracleLayer sra(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  SpatialReductionAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.ratio = args.integer("sr_ratio");
  options.qkv_bias = args.choice("qkv_bias", {"full", "none"}, "full") == "full";
  if (args.has("sr_norm_eps")) options.norm_eps = eps(args, "sr_norm_eps");
  return [layer = SpatialReductionAttention(w, options), grid = grid_of(args)](const Context& ctx,
                                                                               const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, input_at(in, 0), grid)};
  };
}

OracleLayer locally_grouped_attention(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  LocallyGroupedAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  const std::vector<std::int64_t> window = args.integers("window", 2);
  options.window = {window[0], window[1]};
  options.qkv_bias = args.choice("qkv_bias", {"full", "none"}, "full") == "full";
  return [layer = LocallyGroupedAttention(w, options), grid = grid_of(args)](const Context& ctx,
                                                                             const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, input_at(in, 0), grid)};
  };
}

OracleLayer leff_layer(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  args.only("act", "gelu");
  LeffLayer::Options options;
  options.width = args.integer("dim");
  options.hidden = args.integer("hidden");
  options.kernel = args.integer("kernel");
  options.batch_norm = args.boolean("batch_norm");
  if (args.has("bn_eps")) options.bn_eps = eps(args, "bn_eps");
  return [layer = LeffLayer(w, options), grid = grid_of(args), prefix = args.integer("prefix", 0)](
             const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, input_at(in, 0), grid, prefix)};
  };
}

OracleLayer lca_block(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  args.only("act", "gelu");
  LcaBlock::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.mlp_ratio = args.integer("mlp_ratio");
  options.qkv_bias = args.choice("qkv_bias", {"full", "none"}, "full") == "full";
  options.norm_eps = eps(args, "norm_eps");
  return of_first_input(LcaBlock(w, options));
}

OracleLayer locality_ff_layer(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NCHW");
  LocalityFfLayer::Options options;
  options.in = args.integer("in_dim");
  options.out = args.integer("out_dim");
  options.kernel = args.integer("kernel");
  options.stride = args.integer("stride", 1);
  options.expand_ratio = args.integer("expand_ratio");
  options.act =
      args.choice("act", {"hard_swish", "relu6"}) == "relu6" ? FfActivation::relu6 : FfActivation::hard_swish;
  const std::string gate = args.choice("gate", {"none", "se", "eca", "ecah"}, "none");
  options.gate = gate == "se"     ? FfGate::squeeze_excite
                 : gate == "eca"  ? FfGate::eca
                 : gate == "ecah" ? FfGate::eca_hard
                                  : FfGate::none;
  if (args.has("reduction")) options.reduction = args.integer("reduction");
  options.residual = args.boolean("residual");
  options.bn_eps = eps(args, "bn_eps");
  return of_first_input(LocalityFfLayer(w, options));
}

}  // namespace

std::vector<LayerKind> conv_layer_kinds() {
  return {{"peg", peg_layer},
          {"sra", sra},
          {"locally_grouped_attention", locally_grouped_attention},
          {"leff", leff_layer},
          {"lca_block", lca_block},
          {"locality_ff", locality_ff_layer}};
}

}  // namespace locant
