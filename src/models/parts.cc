#include "models/parts.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "core/error.h"
#include "ops/layout.h"

namespace locant {

Grid PatchInput::grid(Pair image) const {
  const bool pads = patch_remainder == Remainder::pad;
  return {1, (image.rows + (pads ? patch_size.rows - 1 : 0)) / patch_size.rows,
          (image.columns + (pads ? patch_size.columns - 1 : 0)) / patch_size.columns};
}

Grid PatchInput::grid(std::string_view op, const Var& images) const {
  require_images(op, images, in_chans);
  const Shape& shape = images.shape();
  const Pair image = {shape[2], shape[3]};
  const auto fits = [&](std::int64_t side, std::int64_t patch) {
    if (patch_remainder == Remainder::pad) return side > 0;
    return side >= patch && (patch_remainder == Remainder::drop || side % patch == 0);
  };
  const auto nearest = [](std::int64_t side, std::int64_t patch) {
    return std::max<std::int64_t>((side + patch / 2) / patch, 1) * patch;
  };
  require(fits(image.rows, patch_size.rows) && fits(image.columns, patch_size.columns), op,
          "an image of {} x {} is no multiple of the patch {} x {}; the nearest size is {} x {}", image.rows,
          image.columns, patch_size.rows, patch_size.columns, nearest(image.rows, patch_size.rows),
          nearest(image.columns, patch_size.columns));
  return grid(image);
}

Var PatchInput::embed(const Context& ctx, std::string_view op, const PatchEmbed& patch_embed,
                      const Var& images) const {
  grid(op, images);
  if (patch_remainder != Remainder::pad) return patch_embed(ctx, images);
  return patch_embed(ctx, pad_to_patches(ctx, images, patch_size.rows, patch_size.columns));
}

void PatchInput::require_whole_patches(const std::string& op) const {
  require(img_size.rows % patch_size.rows == 0 && img_size.columns % patch_size.columns == 0, op,
          "img_size {} x {} is no multiple of patch_size {} x {}", img_size.rows, img_size.columns,
          patch_size.rows, patch_size.columns);
}

void PatchInput::from_shapes(const NamedShapes& shapes, const std::string& projection,
                             const std::string& head) {
  in_chans = shapes.dim(projection, 1);
  patch_size = {shapes.dim(projection, 2), shapes.dim(projection, 3)};
  num_classes = shapes.has(head) ? shapes.dim(head, 0) : 0;
}

void PatchInput::image_of(const NamedShapes& shapes, std::string_view op, std::int64_t patches) {
  if (shapes.told("img_size") && grid().tokens() == patches) return;
  const Pair square = NamedShapes::square(patches);
  require(square.rows > 0, op, "a table of {} patches is no square grid, so that img_size must be told",
          patches);
  img_size = {square.rows * patch_size.rows, square.columns * patch_size.columns};
}

void Prefix::add(const Weights& w, std::string_view name, std::int64_t tokens, std::int64_t width,
                 const Init& init) {
  tokens_.push_back(w.get(name, {1, tokens, width}, init, {.decay = false}));
  size_ += tokens;
}

Var Prefix::before(const Context& ctx, const Var& x) const {
  if (tokens_.empty()) return x;
  std::vector<Var> parts = tokens_;
  parts.push_back(x);
  return concat_rows(ctx, parts);
}

Var Prefix::token(const Context& ctx, const Var& x, std::int64_t index) {
  return reshape(ctx, select_rows(ctx, x, index, index + 1), {x.dim(0), x.dim(2)});
}

Var Prefix::cut(const Context& ctx, const Var& x) const {
  return size_ > 0 ? select_rows(ctx, x, size_, x.dim(1)) : x;
}

Tensor Prefix::cut_row(const Tensor& row) const {
  const std::int64_t B = row.dim(0), H = row.dim(1), N = row.dim(2);
  return select_rows({}, Var(row.reshaped({B * H, N, 1})), size_, N).value().reshaped({B, H, N - size_});
}

SelfAttention::SelfAttention(const Weights& w, std::int64_t width, std::int64_t heads, bool qkv_bias)
    : qkv_(w / "qkv", width, 3 * width, {.bias = qkv_bias}), proj_(w / "proj", width, width) {
  options_.heads = heads;
}

Var SelfAttention::operator()(const Context& ctx, const Var& x, const Var& skip, Tensor* row) const {
  const Var qkv = qkv_(ctx, x);  // (B, N, 3 C)
  if (row != nullptr) *row = attention_row(qkv.value(), options_.heads, std::nullopt, 0);
  return proj_(ctx, attention(ctx, qkv, options_), Activation::none, skip);
}

Var FinalPool::operator()(const Context& ctx, const Var& x, std::int64_t prefix) const {
  if (!options_.mean) return Prefix::token(ctx, x, 0);
  const Var mean = mean_pool(ctx, x, prefix);
  return options_.norms_mean ? ctx.shown("fc_norm", norm_(ctx, mean)) : mean;
}

LearnedAbsolute PositionTable::operator()(const Weights& w) const {
  return {w.get(name, {1, prefix + grid.tokens(), width}, Init::trunc_normal(0.02f), {.decay = decay}),
          {grid.rows, grid.columns, prefix, parse_position_resize(resize)}};
}

void require_grid(std::string_view op, const Var& x, Grid grid) {
  require(grid.rows > 0 && grid.columns > 0 && x.dim(1) == grid.tokens(), op,
          "{} does not hold the {} x {} tokens of the grid", x.shape().str(), grid.rows, grid.columns);
}

void hide_keys(std::string_view op, const Var& mask, std::int64_t B, std::int64_t N,
               std::vector<std::int64_t>& key_lengths, AttentionVisibility& visibility) {
  if (!mask.defined()) return;
  const Shape wanted{B, N};
  if (mask.shape() != wanted) fail(op, "a mask of shape {} for {} tokens", mask.shape().str(), wanted.str());
  auto seen = std::make_shared<std::vector<std::uint8_t>>();
  std::vector<std::int64_t> lengths;
  bool padding = true;
  for (std::int64_t b = 0; b < B; ++b) {
    std::int64_t length = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      const bool see = mask.value()[b * N + n] != 0.0f;
      seen->push_back(see ? 1 : 0);
      padding = padding && (!see || length == n);
      length += see;
    }
    padding = padding && length > 0;
    lengths.push_back(length);
  }
  if (padding) {
    key_lengths = std::move(lengths);
  } else {
    visibility.dense = std::move(seen);
    visibility.dense_shape = {B, 1, 1, 1, N};
  }
}

std::vector<float> drop_rates(std::int64_t total, double last) {
  std::vector<float> out(static_cast<std::size_t>(total), 0.0f);
  for (std::int64_t b = 1; b < total; ++b)
    out[static_cast<std::size_t>(b)] =
        static_cast<float>(last * static_cast<double>(b) / static_cast<double>(total - 1));
  return out;
}

void assume_heads(std::string_view op, const NamedShapes& s, std::int64_t width, std::int64_t& heads) {
  std::int64_t usual = width < 64 ? 1 : width % 64 == 0 ? width / 64 : 0;
  for (const std::int64_t wide : {1152, 1280, 1408, 1664, 1792})
    if (width == wide) usual = 16;
  const bool told = s.told("heads") && heads > 0 && width % heads == 0;
  require(told || usual > 0, op,
          "a width of {} is no multiple of the usual 64 channels of a head, so that heads must be told",
          width);
  s.assume("heads", heads, usual, told);
}

std::int64_t scaled_width(std::int64_t width, double ratio) {
  return static_cast<std::int64_t>(static_cast<double>(width) * ratio);
}

std::vector<std::int32_t> token_rows(std::string_view op, const Var& ids, std::int64_t vocabulary) {
  require(ids.value().numel() > 0, op, "ids of shape {}; there must be one at least", ids.shape().str());
  std::vector<std::int32_t> out;
  out.reserve(static_cast<std::size_t>(ids.value().numel()));
  for (const float id : ids.value().values()) {
    require(id >= 0 && id < static_cast<float>(vocabulary), op, "the id {}; the vocabulary has {}, from 0 on",
            id, vocabulary);
    out.push_back(static_cast<std::int32_t>(id));
  }
  return out;
}

}  // namespace locant
