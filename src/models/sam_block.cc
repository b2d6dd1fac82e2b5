#include "models/sam_block.h"

#include <utility>

#include "ops/attention/attention.h"

namespace locant {

SamPass SamPass::over(const Grid& grid, const Window& window, const WindowMaps& maps) {
  const Grid inside{1, window.rows, window.columns};
  SamPass pass{.grid = grid, .global = {}, .windows = {}, .windowed = {}};
  pass.global = decomposed_indices(grid, grid);
  if (window.tokens() == 0) return pass;
  const WindowLayout layout{.rows = grid.rows, .columns = grid.columns, .window = window};
  pass.windows = maps.rows(layout);
  pass.pads = layout.pads();
  pass.windowed = decomposed_window_indices(*pass.windows, grid.tokens(), inside, inside);
  return pass;
}

SamBlock::SamBlock(const Weights& w, const Options& o)
    : path_(w.path()),
      global_(o.global),
      heads_(o.heads),
      window_(o.window),
      norm1_(w / "norm1", o.dim, o.norm_eps),
      norm2_(w / "norm2", o.dim, o.norm_eps),
      residual_(o.drop_path) {
  const Weights attn = w / "attn";
  const Grid grid = global_ ? o.grid : Grid{1, window_.rows, window_.columns};
  const std::int64_t D = o.dim / o.heads;
  qkv_ = Linear(attn / "qkv", o.dim, 3 * o.dim, {.bias = o.qkv_bias});
  proj_ = Linear(attn / "proj", o.dim, o.dim);
  if (o.rel_pos) {
    tables_.rows = attn.get(Decomposed::kRows, {decomposed_rows(grid.rows, grid.rows), D}, Init::zeros(),
                            {.decay = false});
    tables_.columns = attn.get(Decomposed::kColumns, {decomposed_rows(grid.columns, grid.columns), D},
                               Init::zeros(), {.decay = false});
  }
  fc1_ = Linear(w / "mlp" / o.fc1, o.dim, o.hidden);
  fc2_ = Linear(w / "mlp" / o.fc2, o.hidden, o.dim);
}

Var SamBlock::attend(const Context& ctx, const Var& normed, const SamPass& pass) const {
  const Var qkv = qkv_(ctx, normed);
  AttentionOptions options;
  options.heads = heads_;
  if (!global_) {
    options.rows = pass.windows;
    if (pass.pads) options.pad_bias = qkv_.bias();
    options.zero_pad = pass.pads && !qkv_.bias().defined();
  }
  if (!tables_.rows.defined()) return attention(ctx, qkv, options);
  const Grid grid = global_ ? pass.grid : Grid{1, window_.rows, window_.columns};
  const Decomposed tables{.frames = {},
                          .rows = resize_decomposed(ctx, tables_.rows, grid.rows, grid.rows),
                          .columns = resize_decomposed(ctx, tables_.columns, grid.columns, grid.columns)};
  options.terms = {decomposed_term(ctx, tables, qkv, heads_, global_ ? pass.global : pass.windowed,
                                   normed.dim(2) / heads_)};
  return attention(ctx, qkv, options);
}

/// The attention's output in windows as the sources have it, with padded queries.
void SamBlock::show_windows(const Context& ctx, const Var& normed, const SamPass& pass) const {
  const WindowLayout layout{.rows = pass.grid.rows, .columns = pass.grid.columns, .window = window_};
  const WindowLayout whole{
      .rows = layout.padded_rows(), .columns = layout.padded_columns(), .window = window_};
  SamPass padded{.grid = {1, whole.rows, whole.columns}, .global = {}, .windows = {}, .windowed = {}};
  padded.windows = std::make_shared<const RowMaps>(make_window_rows(whole));
  const Grid window{1, window_.rows, window_.columns};
  padded.windowed = decomposed_window_indices(*padded.windows, whole.rows * whole.columns, window, window);
  const Var out = proj_({}, attend({}, Var(padded_grid(normed.value(), layout)), padded));
  ctx.show([&] { return path_ + ".attn"; }, Var(window_order(out.value(), *padded.windows)));
}

Var SamBlock::operator()(const Context& ctx, Var x, const SamPass& pass) const {
  x = residual_(ctx, x, [&](const Var& skip) {
    const Var normed = norm1_(ctx, x);
    const Var out = attend(ctx, normed, pass);
    if (ctx.probe != nullptr && global_) ctx.show([&] { return path_ + ".attn"; }, proj_({}, out));
    if (ctx.probe != nullptr && !global_) show_windows(ctx, normed, pass);
    return proj_(ctx, out, Activation::none, skip);
  });
  return residual_(ctx, x, [&](const Var& skip) {
    return fc2_(ctx, fc1_(ctx, norm2_(ctx, x), Activation::gelu), Activation::none, skip);
  });
}

}  // namespace locant
