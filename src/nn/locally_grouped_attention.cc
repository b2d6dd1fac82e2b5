#include "nn/locally_grouped_attention.h"

#include "core/error.h"

namespace locant {

LocallyGroupedAttention::LocallyGroupedAttention(const Weights& w, const Options& options)
    : options_(options), path_(w.path()), maps_(std::make_shared<WindowMaps>()) {
  const std::int64_t C = options.width, H = options.heads;
  require(H >= 1 && C >= H && C % H == 0, "locally_grouped_attention", "{} heads do not divide a width of {}",
          H, C);
  require(options.window.rows >= 1 && options.window.columns >= 1, "locally_grouped_attention",
          "a window of {} x {} is empty", options.window.rows, options.window.columns);
  qkv_ = Linear(w / "qkv", C, 3 * C, {.bias = options.qkv_bias});
  proj_ = Linear(w / "proj", C, C);
}

Var LocallyGroupedAttention::operator()(const Context& ctx, const Var& x, Grid grid) const {
  const std::string prefix = path_.empty() ? path_ : path_ + ".";
  const WindowLayout layout{.rows = grid.rows, .columns = grid.columns, .window = options_.window};
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  options.rows = maps_->rows(layout);
  if (layout.pads() && options_.qkv_bias) options.pad_bias = qkv_.bias();
  options.zero_pad = layout.pads() && !options_.qkv_bias;
  const Var qkv = qkv_(ctx, x);
  if (ctx.probe != nullptr)
    ctx.show([&] { return prefix + "qkv"; },
             Var(window_order(qkv.value(), *options.rows)
                     .reshaped({x.dim(0), layout.padded_rows() / options_.window.rows,
                                layout.padded_columns() / options_.window.columns, options_.window.rows,
                                options_.window.columns, qkv.dim(2)})));
  const Var out = proj_(ctx, attention(ctx, qkv, options));
  ctx.show([&] { return prefix + "proj"; }, out);
  return out;
}

}  // namespace locant
