#include <algorithm>

#include "core/error.h"
#include "nn/music_attention.h"
#include "nn/relative_key_attention.h"
#include "nn/shaw_attention.h"
#include "nn/transformer_xl_attention.h"
#include "ops/rearrange.h"
#include "verify/layers.h"

namespace locant {

namespace {

// (length, batch, C) <-> (batch, length, C), for layers that want the batch first.
Var swap_axes(const Context& ctx, const Var& x) { return permute(ctx, x, {1, 0, 2}); }

bool length_first(const LayerArgs& args) {
  const std::string layout = args.text("layout", "NLC");
  require(layout == "NLC" || layout == "LNC", "verify", "the layout \"{}\" is neither NLC nor LNC", layout);
  return layout == "LNC";
}

void require_layout(const LayerArgs& args, const char* layout) {
  const std::string given = args.text("layout", layout);
  require(given == layout, "verify", "the layout \"{}\" is not {}", given, layout);
}

OracleLayer shaw_attention(const LayerArgs& args, const Weights& w) {
  require_layout(args, "NLC");
  const ShawAttention layer(
      w, {args.integer("dim"), args.integer("heads"), args.integer("max_relative_position")});
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), in.size() > 1 ? in[1] : in[0])};
  };
}

OracleLayer relative_key_attention(const LayerArgs& args, const Weights& w) {
  require_layout(args, "NLC");
  RelativeKeyAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.longest = args.integer("max_position_embeddings");
  const std::string variant = args.text("variant");
  require(variant == "relative_key" || variant == "relative_key_query", "verify",
          "unknown variant \"{}\"; there are relative_key and relative_key_query", variant);
  options.method =
      variant == "relative_key" ? Huang2020Method::relative_key : Huang2020Method::relative_key_query;
  require(!args.boolean("output_projection", false), "verify",
          "the layer ends before the output projection; it must be false");
  std::vector<std::int64_t> lengths;
  if (args.has("key_lengths")) lengths = args.integers("key_lengths");
  // A forbidden key's weight is zero: exp(-1e9) underflows.
  require(!args.has("mask_value") || args.number("mask_value") <= -1e4, "verify",
          "a mask of {} leaves forbidden keys a weight", args.number("mask_value", 0.0));
  const RelativeKeyAttention layer(w, options);
  return [layer, lengths](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), lengths)};
  };
}

OracleLayer music_attention(const LayerArgs& args, const Weights& w) {
  MusicAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.rows = args.integer("er_len");
  options.causal = args.boolean("causal");
  const std::string bias = args.text("qkv_bias", "full");
  require(bias == "full", "verify", "the qkv_bias \"{}\" is not full", bias);
  const bool swap = length_first(args);
  const MusicAttention layer(w, options);
  return [layer, swap](const Context& ctx, const std::vector<Var>& in) {
    if (!swap) return std::vector<Var>{layer(ctx, in.at(0))};
    return std::vector<Var>{swap_axes(ctx, layer(ctx, swap_axes(ctx, in.at(0))))};
  };
}

OracleLayer transformer_xl_attention(const LayerArgs& args, const Weights& w) {
  require_layout(args, "LNC");
  TransformerXlAttention::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.head_width = args.integer("head_dim", options.width / std::max<std::int64_t>(1, options.heads));
  const std::string position = args.text("position");
  require(position == "sinusoid_halves" || position == "learned_table", "verify",
          "unknown position \"{}\"; there are sinusoid_halves and learned_table", position);
  if (position == "learned_table") options.table_rows = args.integer("table_rows");
  require(args.boolean("causal"), "verify", "the layer is causal");
  options.same_length = args.boolean("same_length");
  options.mem_len = args.integer("mem_len", 0);
  options.pre_norm = args.boolean("pre_norm");
  options.residual = args.boolean("residual");
  options.norm_eps = static_cast<float>(args.number("norm_eps"));
  const TransformerXlAttention layer(w / "dec_attn", w, options);
  return [layer](const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, in.at(0), in.size() > 1 ? in[1] : Var())};
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
