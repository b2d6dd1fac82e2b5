#include <utility>

#include "core/error.h"
#include "nn/irpe_attention.h"
#include "ops/rearrange.h"
#include "verify/layers.h"

namespace locant {

namespace {

IrpeGrid irpe_grid_of(const LayerArgs& args) {
  return {args.integer("height"), args.integer("width"), args.integer("skip")};
}

IrpeOptions options_of(const LayerArgs& args, const char* layout) {
  IrpeOptions out;
  out.width = args.integer("dim");
  out.heads = args.integer("heads");
  args.only("qkv_bias", "full");
  args.only("layout", layout);
  out.on = args.text("rpe_on");
  const std::string method = args.choice("method", {"euc", "quant", "cross", "product"});
  for (const auto& [name, value] : {std::pair{"euc", IrpeMethod::euclidean},
                                    {"quant", IrpeMethod::quantised},
                                    {"cross", IrpeMethod::cross},
                                    {"product", IrpeMethod::product}})
    if (method == name) out.form.method = value;
  out.form.mode =
      args.choice("mode", {"bias", "contextual"}) == "bias" ? IrpeMode::bias : IrpeMode::contextual;
  out.form.bins = {args.number("alpha"), args.number("beta"), args.number("gamma")};
  require(args.number("ratio", out.form.bins.alpha) == out.form.bins.alpha, "verify",
          "the ratio {} is not alpha {}", args.number("ratio", 0.0), out.form.bins.alpha);
  out.shared = args.boolean("shared_head");
  out.skip = args.integer("skip");
  const std::int64_t buckets = irpe_buckets(out.form.method, out.form.bins, out.skip);
  require(args.integer("num_buckets", buckets) == buckets, "verify",
          "num_buckets is {}; these options make {}", args.integer("num_buckets", 0), buckets);
  return out;
}

OracleLayer irpe_attention(const LayerArgs& args, const Weights& w) {
  const IrpeOptions options = options_of(args, "NLC");
  return [layer = IrpeAttention(w, options), maps = irpe_maps(options.form, irpe_grid_of(args))](
             const Context& ctx, const std::vector<Var>& in) {
    return std::vector<Var>{layer(ctx, input_at(in, 0), maps)};
  };
}

OracleLayer irpe_detr_attention(const LayerArgs& args, const Weights& w) {
  const IrpeOptions options = options_of(args, "LNC");
  require(options.skip == 0, "verify", "DETR has no tokens in front of its grid; skip is {}", options.skip);
  const IrpeDetrAttention layer(w, options);
  const IrpeMaps maps = irpe_maps(options.form, irpe_grid_of(args));
  AttentionVisibility visibility;
  if (args.has("valid_hw")) visibility = irpe_keys_within(args.integer_rows("valid_hw"), maps.grid);
  return [layer, maps, visibility](const Context& ctx, const std::vector<Var>& in) {
    const auto turned = [&](const Var& x) { return permute(ctx, x, {1, 0, 2}); };
    const Var query = turned(input_at(in, 0));
    return std::vector<Var>{turned(layer(ctx, query, query, turned(input_at(in, 1)), &maps, visibility))};
  };
}

}  // namespace

std::vector<LayerKind> irpe_layer_kinds() {
  return {{"irpe_attention", irpe_attention}, {"irpe_detr_attention", irpe_detr_attention}};
}

}  // namespace locant
