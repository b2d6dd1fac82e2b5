#include <algorithm>

#include "core/error.h"
#include "nn/positioned_attention.h"
#include "nn/relative_key_attention.h"
#include "nn/shaw_attention.h"
#include "nn/transformer_xl_attention.h"
#include "ops/rearrange.h"
#include "verify/layers.h"

namespace locant {

namespace {

// (length, batch, C) <-> (batch, length, C), for layers that want the batch first.
Var swap_axes(const Context& ctx, const Var& x) { return permute(ctx, x, {1, 0, 2}); }

OracleLayer shaw_attention(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  const ShawAttention layer(
      w, {args.integer("dim"), args.integer("heads"), args.integer("max_relative_position")});
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    const Var& x = input_at(in, 0);
    return std::vector<Var>{layer(ctx, x, in.size() > 1 ? in[1] : x)};
  };
}

OracleLayer relative_key_attention(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  RelativeKeyAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.longest = args.integer("max_position_embeddings");
  const std::string variant = args.choice("variant", {"relative_key", "relative_key_query"});
  options.method =
      variant == "relative_key" ? Huang2020Method::relative_key : Huang2020Method::relative_key_query;
  require(!args.boolean("output_projection", false), "verify",
          "the layer ends before the output projection; it must be false");
  require_hiding_mask(args);
  const RelativeKeyAttention layer(w, options);
  return [layer, lengths = key_lengths_of(args)](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, input_at(in, 0), lengths)};
  };
}

OracleLayer music_attention(const LayerArgs& args, const Weights& w) {
  PositionedAttention::Options options;
  options.position = AttentionPosition::music_transformer;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.longest = args.integer("er_len");
  options.causal = args.boolean("causal");
  args.only("qkv_bias", "full");
  const bool swap = args.choice("layout", {"NLC", "LNC"}, "NLC") == "LNC";
  const PositionedAttention layer(w, options);
  return [layer, swap](const Context& ctx, const std::vector<Var>& in) {
    if (!swap) return std::vector<Var>{layer(ctx, input_at(in, 0))};
    return std::vector<Var>{swap_axes(ctx, layer(ctx, swap_axes(ctx, input_at(in, 0))))};
  };
}

OracleLayer transformer_xl_attention(const LayerArgs& args, const Weights& w) {
  args.only("layout", "LNC");
  TransformerXlAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.head_width = args.integer("head_dim", options.width / std::max<std::int64_t>(1, options.heads));
  if (args.choice("position", {"sinusoid_halves", "learned_table"}) == "learned_table")
    options.table_rows = args.integer("table_rows");
  require(args.boolean("causal"), "verify", "the layer is causal");
  options.same_length = args.boolean("same_length");
  options.mem_len = args.integer("mem_len", 0);
  options.pre_norm = args.boolean("pre_norm");
  options.residual = args.boolean("residual");
  options.norm_eps = static_cast<float>(args.number("norm_eps"));
  const TransformerXlAttention layer(w / "dec_attn", w, options);
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, input_at(in, 0), in.size() > 1 ? in[1] : Var())};
  };
}

}  // namespace

std::vector<LayerKind> sequence_layer_kinds() {
  return {{"shaw_attention", shaw_attention},
          {"relative_key_attention", relative_key_attention},
          {"music_attention", music_attention},
          {"transformer_xl_attention", transformer_xl_attention}};
}

}  // namespace locant
