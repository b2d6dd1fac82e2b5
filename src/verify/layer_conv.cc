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

void require_text(const LayerArgs& args, const char* key, const char* known) {
  const std::string given = args.text(key, known);
  require(given == known, "verify", "the {} \"{}\" is not {}", key, given, known);
}

bool qkv_bias(const LayerArgs& args) {
  const std::string bias = args.text("qkv_bias", "full");
  require(bias == "full" || bias == "none", "verify", "the qkv_bias \"{}\" is neither none nor full", bias);
  return bias == "full";
}

Grid grid_of(const LayerArgs& args) { return {1, args.integer("height"), args.integer("width")}; }

float eps(const LayerArgs& args, const char* key) { return static_cast<float>(args.number(key)); }

OracleLayer peg_layer(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NLC");
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
        return std::vector<Var>{layer(ctx, in.at(0), grid)};
      };
}

OracleLayer sra(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NLC");
  SpatialReductionAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.ratio = args.integer("sr_ratio");
  options.qkv_bias = qkv_bias(args);
  if (args.has("sr_norm_eps")) options.norm_eps = eps(args, "sr_norm_eps");
  return [layer = SpatialReductionAttention(w, options), grid = grid_of(args)](const Context& ctx,
                                                                               const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), grid)};
  };
}

OracleLayer locally_grouped_attention(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NLC");
  LocallyGroupedAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  const std::vector<std::int64_t> window = args.integers("window");
  require(window.size() == 2, "verify", "a window of {} sides; there must be two", window.size());
  options.window = {window[0], window[1]};
  options.qkv_bias = qkv_bias(args);
  return [layer = LocallyGroupedAttention(w, options), grid = grid_of(args)](const Context& ctx,
                                                                             const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), grid)};
  };
}

OracleLayer leff_layer(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NLC");
  require_text(args, "act", "gelu");
  LeffLayer::Options options;
  options.width = args.integer("dim");
  options.hidden = args.integer("hidden");
  options.kernel = args.integer("kernel");
  options.batch_norm = args.boolean("batch_norm");
  if (args.has("bn_eps")) options.bn_eps = eps(args, "bn_eps");
  return [layer = LeffLayer(w, options), grid = grid_of(args), prefix = args.integer("prefix", 0)](
             const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), grid, prefix)};
  };
}

OracleLayer lca_block(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NLC");
  require_text(args, "act", "gelu");
  LcaBlock::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.mlp_ratio = args.integer("mlp_ratio");
  options.qkv_bias = qkv_bias(args);
  options.norm_eps = eps(args, "norm_eps");
  return [layer = LcaBlock(w, options)](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
}

OracleLayer locality_ff_layer(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NCHW");
  LocalityFfLayer::Options options;
  options.in = args.integer("in_dim");
  options.out = args.integer("out_dim");
  options.kernel = args.integer("kernel");
  options.stride = args.integer("stride", 1);
  options.expand_ratio = args.integer("expand_ratio");
  const std::string act = args.text("act"), gate = args.text("gate", "none");
  require(act == "hard_swish" || act == "relu6", "verify", "the act \"{}\" is neither hard_swish nor relu6",
          act);
  options.act = act == "relu6" ? FfActivation::relu6 : FfActivation::hard_swish;
  require(gate == "none" || gate == "se" || gate == "eca" || gate == "ecah", "verify",
          "unknown gate \"{}\"; there are none, se, eca and ecah", gate);
  options.gate = gate == "se"     ? FfGate::squeeze_excite
                 : gate == "eca"  ? FfGate::eca
                 : gate == "ecah" ? FfGate::eca_hard
                                  : FfGate::none;
  if (args.has("reduction")) options.reduction = args.integer("reduction");
  options.residual = args.boolean("residual");
  options.bn_eps = eps(args, "bn_eps");
  return [layer = LocalityFfLayer(w, options)](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0))};
  };
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
