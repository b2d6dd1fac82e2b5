#include "nn/irpe_attention.h"

#include <memory>
#include <utility>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/rearrange.h"

namespace locant {

IrpeEncoding::IrpeEncoding(const Weights& w, const IrpeOptions& options)
    : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("irpe_attention", H, C);
  require(options.on.find_first_not_of("qkv") == std::string::npos, "irpe_attention",
          "iRPE on \"{}\"; it must be letters of q, k and v", options.on);
  require(options.form.mode == IrpeMode::contextual || options.on.find('v') == std::string::npos,
          "irpe_attention", "iRPE on \"{}\" in bias mode; it has no table on v", options.on);
  const auto tables = [&](char side) {
    IrpeTables out;
    if (options.on.find(side) == std::string::npos) return out;
    const Shape shape = irpe_shape(options.form, side, options.shared ? 1 : H, C / H, options.skip);
    Init start = Init::zeros();
    if (options.xavier_tables) {  // of three axes: the last is PyTorch's receptive field
      const std::int64_t field = shape.rank() == 3 ? shape[2] : 1;
      start = Init::xavier_uniform(shape[1] * field, shape[0] * field);
    }
    for (int part = 0; part < (options.form.method == IrpeMethod::cross ? 2 : 1); ++part)
      out[static_cast<std::size_t>(part)] = w.get(irpe_name(options.form, side, part), shape, start);
    return out;
  };
  tables_.on_q = tables('q');
  tables_.on_k = tables('k');
  tables_.on_v = tables('v');
}

Var IrpeEncoding::attend(const Context& ctx, const Var& q, const Var& k, const Var& v, const IrpeMaps* maps,
                         const AttentionVisibility& visibility) const {
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  options.visibility = visibility;
  require(maps != nullptr || options_.on.empty(), "irpe_attention", "iRPE on \"{}\" needs the maps of a grid",
          options_.on);
  if (maps != nullptr && !options_.on.empty())
    add_irpe(ctx, tables_, *maps, q, k, options_.width / options_.heads, options);
  if (ctx.probe != nullptr) show_scores(ctx, q, k, v, options);
  return attention(ctx, q, k, v, options);
}

void IrpeEncoding::show_scores(const Context& ctx, const Var& q, const Var& k, const Var& v,
                               const AttentionOptions& options) const {
  const std::int64_t B = q.dim(0), H = options_.heads, N = q.dim(1);
  const std::size_t parts = options_.form.method == IrpeMethod::cross ? 2 : 1;
  const auto scores = [&](std::size_t first) {
    Tensor sum = attention_term_scores(q, k, v, options, first);  // (B, 1, H, N, N)
    if (parts == 2) {
      const Tensor more = attention_term_scores(q, k, v, options, first + 1);
      for (std::int64_t x = 0; x < sum.numel(); ++x) sum[x] += more[x];
    }
    if (options_.form.mode == IrpeMode::contextual) return Var(sum.reshaped({B, H, N, N}));
    // The same for every sample, and for every head where they share a table.
    const std::int64_t tables = options_.shared ? 1 : H;
    return Var(sum.reshaped({B * H, N, N}).slice(0, tables).reshaped({1, tables, N, N}));
  };
  std::size_t next = 0;
  if (tables_.on_k[0].defined()) {
    ctx.show_dense([&] { return join_path(path_, "rpe_k"); }, [&] { return scores(next); });
    next += parts;
  }
  if (tables_.on_q[0].defined())
    ctx.show_dense([&] { return join_path(path_, "rpe_q"); },
                   [&] {
                     return permute({}, scores(next), {0, 1, 3, 2});
                   });
  if (tables_.on_v[0].defined()) {
    const Var none(Tensor::zeros(v.shape()));
    const Var added = attention({}, q, k, none, options);  // (B, N, H D): of zero values
    ctx.show([&] { return join_path(path_, "rpe_v"); },
             permute({}, reshape({}, added, {B, N, H, v.dim(2) / H}), {0, 2, 1, 3}));
  }
}

IrpeAttention::IrpeAttention(const Weights& w, const IrpeOptions& options)
    : width_(options.width), path_(w.path()), encoding_(w, options) {
  qkv_ = Linear(w / "qkv", width_, 3 * width_, {.bias = options.qkv_bias});
  proj_ = Linear(w / "proj", width_, width_);
}

Var IrpeAttention::operator()(const Context& ctx, const Var& x, const IrpeMaps& maps, const Var& skip) const {
  const Var qkv = qkv_(ctx, x);
  ctx.show([&] { return join_path(path_, "qkv"); }, qkv);
  const auto third = [&](std::int64_t t) { return slice_axis(ctx, qkv, 2, t * width_, (t + 1) * width_); };
  return proj_(ctx, encoding_.attend(ctx, third(0), third(1), third(2), &maps, {}), Activation::none, skip);
}

IrpeDetrAttention::IrpeDetrAttention(const Weights& w, IrpeOptions options) : width_(options.width) {
  options.xavier_tables = true;
  encoding_ = IrpeEncoding(w, options);
  const std::int64_t C = width_;
  in_proj_ = JointProjection(w, C, JointProjection::Of::three);
  out_proj_ = Linear(w / "out_proj", C, C, {.weight_init = Init::xavier_uniform(C, C)});
}

Var IrpeDetrAttention::operator()(const Context& ctx, const Var& query, const Var& key, const Var& value,
                                  const IrpeMaps* maps, const AttentionVisibility& visibility,
                                  const Var& skip) const {
  const Var x = encoding_.attend(ctx, in_proj_.part(ctx, query, 0), in_proj_.part(ctx, key, 1),
                                 in_proj_.part(ctx, value, 2), maps, visibility);
  return out_proj_(ctx, x, Activation::none, skip);
}

AttentionVisibility irpe_keys_within(const std::vector<std::vector<std::int64_t>>& sizes,
                                     const IrpeGrid& grid) {
  const auto within = [](std::int64_t size, std::int64_t side) { return size >= 1 && size <= side; };
  auto seen = std::make_shared<std::vector<std::uint8_t>>();
  for (const std::vector<std::int64_t>& size : sizes) {
    require(size.size() == 2 && within(size[0], grid.rows) && within(size[1], grid.columns), "irpe_attention",
            "a sample of {} places; (rows, columns) within {} x {} were expected", fmt::join(size, " x "),
            grid.rows, grid.columns);
    for (std::int64_t j = 0; j < grid.rows * grid.columns; ++j)
      seen->push_back(j / grid.columns < size[0] && j % grid.columns < size[1] ? 1 : 0);
  }
  return {.dense = std::move(seen),
          .dense_shape = {static_cast<std::int64_t>(sizes.size()), 1, 1, 1, grid.rows * grid.columns}};
}

}  // namespace locant
