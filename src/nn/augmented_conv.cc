#include "nn/augmented_conv.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"

namespace locant {

namespace {
constexpr const char* kAugmentedConvOp = "augmented_conv";
constexpr std::int64_t kLargestSide = 4096;  // an index per pair of places on a side
}  // namespace

AugmentedConv::AugmentedConv(const Weights& w, const Options& o) : options_(o), path_(w.path()) {
  require(o.heads >= 1 && o.dk >= o.heads && o.dv >= o.heads && o.dk % o.heads == 0 && o.dv % o.heads == 0,
          kAugmentedConvOp, "{} heads do not divide {} key and {} value channels", o.heads, o.dk, o.dv);
  require(o.in >= 1 && o.dv < o.out, kAugmentedConvOp, "{} value channels of {} in all, from {}", o.dv, o.out,
          o.in);
  require(o.kernel >= 1 && o.stride >= 1 && o.pad >= 0, kAugmentedConvOp,
          "a kernel of {}, stride {}, padding {}", o.kernel, o.stride, o.pad);
  if (o.relative) {
    require(std::max(o.rows, o.columns) <= kLargestSide, kAugmentedConvOp,
            "a map of {}x{}; sides are at most {}", o.rows, o.columns, kLargestSide);
    indices_ = relative_logits_indices({1, o.rows, o.columns});
    const std::int64_t D = o.dk / o.heads;
    tables_.columns = w.get("key_rel_w", {2 * o.columns - 1, D}, Init::normal(1.0f), {.decay = false});
    tables_.rows = w.get("key_rel_h", {2 * o.rows - 1, D}, Init::normal(1.0f), {.decay = false});
  }
  const auto same = Conv2d::square(o.kernel, o.stride, o.pad);
  conv_out_ = Conv2d(w / "conv_out", o.in, o.out - o.dv, same);
  require(o.qkv_kernel == 0 || o.qkv_kernel % 2 == 1, kAugmentedConvOp, "qkv_kernel {}; it must be odd, or 0",
          o.qkv_kernel);
  const std::int64_t qkv_stride = o.attention_stride == Stride::projections ? o.stride : 1;
  qkv_conv_ = Conv2d(w / "qkv_conv", o.in, 2 * o.dk + o.dv,
                     o.qkv_kernel == 0 ? Conv2d::square(o.kernel, qkv_stride, o.pad)
                                       : Conv2d::square(o.qkv_kernel, qkv_stride, o.qkv_kernel / 2));
  attn_out_ = Conv2d(w / "attn_out", o.dv, o.dv, Conv2d::square(1));
}

Var AugmentedConv::operator()(const Context& ctx, const Var& x) const {
  const Var convolved = conv_out_(ctx, x);
  ctx.show([&] { return join_path(path_, "conv_out"); }, convolved);
  const Var qkv = qkv_conv_(ctx, x);
  ctx.show([&] { return join_path(path_, "qkv_conv"); }, qkv);
  const Var attended = attn_out_(ctx, strided(ctx, attend(ctx, qkv)));
  ctx.show([&] { return join_path(path_, "attn_out"); }, attended);
  return concat_axis(ctx, {convolved, attended}, 1);
}

Var AugmentedConv::strided(const Context& ctx, const Var& map) const {
  if (options_.stride == 1 || options_.attention_stride == Stride::projections) return map;
  Pool2dOptions mean;
  mean.kernel_rows = mean.kernel_columns = 3;
  mean.pad_rows = mean.pad_columns = 1;
  mean.stride_rows = mean.stride_columns = options_.stride;
  mean.count_padding = false;
  return average_pool2d(ctx, map, mean);
}

Var AugmentedConv::attend(const Context& ctx, const Var& qkv) const {
  const std::int64_t B = qkv.dim(0), rows = qkv.dim(2), columns = qkv.dim(3), N = rows * columns;
  const std::int64_t dk = options_.dk, dv = options_.dv, H = options_.heads;
  if (options_.relative)
    require(rows == options_.rows && columns == options_.columns, kAugmentedConvOp,
            "a map of {}x{}, where tables are made for {}x{}: pictures of the configuration's img_size are "
            "needed",
            rows, columns, options_.rows, options_.columns);
  const Var tokens = images_to_tokens(ctx, qkv);
  const Var q = slice_axis(ctx, tokens, 2, 0, dk), k = slice_axis(ctx, tokens, 2, dk, 2 * dk),
            v = slice_axis(ctx, tokens, 2, 2 * dk, 2 * dk + dv);
  AttentionOptions options;
  options.heads = H;
  options.scale = 1.0f / std::sqrt(static_cast<float>(dk / H));
  if (options_.relative) options.terms = {relative_logits_term(ctx, tables_, q, H, *options.scale, indices_)};
  const Var y = attention(ctx, q, k, v, options);
  if (options_.maps == Maps::transposed) return tokens_to_images(ctx, y, rows, columns);
  const Var heads = permute(ctx, reshape(ctx, y, {B, N, H, dv / H}), {0, 2, 1, 3});
  return reshape(ctx, heads, {B, dv, rows, columns});
}

}  // namespace locant
