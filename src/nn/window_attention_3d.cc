#include "nn/window_attention_3d.h"

#include <algorithm>

#include "core/error.h"

namespace locant {

namespace {

bool has_padding(const RowMaps& rows) {
  return std::any_of(rows.key_rows.begin(), rows.key_rows.end(), [](std::int32_t row) { return row < 0; });
}

}  // namespace

WindowAttention3d::WindowAttention3d(const Weights& w, const Options& options) : options_(options) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("window_attention_3d", H, C);
  path_ = w.path();
  whole_ = video_swin_gather(options.window, options.window, options.fit);
  bias_ = {options.window, w.get(VideoSwinBias::kTable, {video_swin_table_rows(options.window), H},
                                 Init::trunc_normal(VideoSwinBias::kInitStd), {.decay = false})};
  qkv_ = Linear(w / "qkv", C, 3 * C, {.bias = options.qkv_bias});
  proj_ = Linear(w / "proj", C, C);
}

std::shared_ptr<const OffsetMap> WindowAttention3d::gather(Grid window) const {
  const Grid whole = options_.window;
  if (window.frames == whole.frames && window.rows == whole.rows && window.columns == whole.columns)
    return whole_;
  return video_swin_gather(whole, window, options_.fit);
}

std::shared_ptr<const OffsetMap> WindowAttention3d::gather(std::int64_t tokens) const {
  const Grid whole = options_.window;
  require(tokens >= 1 && tokens <= whole.tokens(), "window_attention_3d", "{} tokens of a {}x{}x{} window",
          tokens, whole.frames, whole.rows, whole.columns);
  OffsetMap first = *whole_;
  first.query_code.resize(static_cast<std::size_t>(tokens));
  first.key_code.resize(static_cast<std::size_t>(tokens));
  return std::make_shared<const OffsetMap>(std::move(first));
}

Var WindowAttention3d::operator()(const Context& ctx, const Var& x, std::shared_ptr<const OffsetMap> gather,
                                  std::shared_ptr<const RowMaps> rows) const {
  const Var qkv = qkv_(ctx, x);  // (B, N, 3 C), q | k | v, head-major
  ctx.show([&] { return join_path(path_, "qkv"); }, qkv);
  AttentionOptions options;
  options.heads = options_.heads;
  options.terms = {video_swin_bias_term(bias_, options_.heads, std::move(gather))};
  if (rows != nullptr && has_padding(*rows)) {
    options.pad_bias = qkv_.bias();
    options.zero_pad = !options_.qkv_bias;
  }
  options.rows = std::move(rows);
  const Var y = proj_(ctx, attention(ctx, qkv, options));
  ctx.show([&] { return join_path(path_, "proj"); }, y);
  return y;
}

}  // namespace locant
