#include <utility>

#include "core/error.h"
#include "nn/irpe_attention.h"
#include "ops/rearrange.h"
#include "verify/layers.h"

namespace locant {

namespace {

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
  out.grid = {args.integer("height"), args.integer("width"), args.integer("skip")};
  const std::int64_t buckets = irpe_buckets(out.form.method, out.form.bins, out.grid.skip);
  require(args.integer("num_buckets", buckets) == buckets, "verify",
          "num_buckets is {}; these options make {}", args.integer("num_buckets", 0), buckets);
  return out;
}

OracleLayer irpe_attention(const LayerArgs& args, const Weights& w) {
  return of_first_input(IrpeAttention(w, options_of(args, "NLC")));
}

// Keys inside the valid [h, w] of each sample: (B, 1, 1, 1, N).
AttentionVisibility visibility_of(const std::vector<std::vector<std::int64_t>>& valid, const IrpeGrid& grid) {
  auto seen = std::make_shared<std::vector<std::uint8_t>>();
  for (const std::vector<std::int64_t>& size : valid) {
    require(size.size() == 2, "verify", "valid_hw has {} numbers for a sample; [h, w] was expected",
            size.size());
    for (std::int64_t j = 0; j < grid.rows * grid.columns; ++j)
      seen->push_back(j / grid.columns < size[0] && j % grid.columns < size[1] ? 1 : 0);
  }
  const auto B = static_cast<std::int64_t>(valid.size());
  return {.dense = std::move(seen), .dense_shape = {B, 1, 1, 1, grid.rows * grid.columns}};
}

OracleLayer irpe_detr_attention(const LayerArgs& args, const Weights& w) {
  const IrpeOptions options = options_of(args, "LNC");
  require(options.grid.skip == 0, "verify", "DETR has no tokens in front of its grid; skip is {}",
          options.grid.skip);
  const IrpeDetrAttention layer(w, options);
  AttentionVisibility visibility;
  if (args.has("valid_hw")) visibility = visibility_of(args.integer_rows("valid_hw"), options.grid);
  return [layer, visibility](const Context& ctx, const std::vector<Var>& in) {
    const auto turned = [&](const Var& x) { return permute(ctx, x, {1, 0, 2}); };
    return std::vector<Var>{turned(layer(ctx, turned(input_at(in, 0)), turned(input_at(in, 1)), visibility))};
  };
}

}  // namespace

std::vector<LayerKind> irpe_layer_kinds() {
  return {{"irpe_attention", irpe_attention}, {"irpe_detr_attention", irpe_detr_attention}};
}

}  // namespace locant
