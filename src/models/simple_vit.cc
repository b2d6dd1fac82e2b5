// SimpleViT: Beyer, Zhai, Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k": ViT with fixed 2-D
// sine-cosine positions, no class token and mean pooling. Names and details: the vit-pytorch package.
#include "models/simple_vit.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "models/config_json.h"
#include "nn/layers.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "position/sincos.h"

namespace locant {
namespace {

struct SimpleVitConfig {
  Pair img_size = {224, 224};  // any multiple of the patch runs: positions are a formula
  Pair patch_size = {16, 16};
  std::int64_t in_chans = 3, num_classes = 1000;
  std::int64_t dim = 384, depth = 12, heads = 6, head_dim = 64, mlp_dim = 1536;
  float norm_eps = 1e-5f;
  double temperature = 10000.0;
  bool patch_norm = true;                          // layer norms before and after the patch projection
  std::string patch_order = "row_column_channel";  // channel fastest; or channel_row_column
};

template <class Archive, class Config>
void fields(Archive& archive, Config& c) {
  transformer_fields(archive, c);
  archive.field("num_classes", c.num_classes);
  archive.field("head_dim", c.head_dim);
  archive.field("mlp_dim", c.mlp_dim);
  archive.field("norm_eps", c.norm_eps);
  archive.field("temperature", c.temperature);
  archive.field("patch_norm", c.patch_norm);
  archive.field("patch_order", c.patch_order);
  archive.only("qkv_bias", "none");
  archive.only("act", "gelu");
  archive.only("pos_embed", "sincos_2d");
  archive.only("pool", "mean");
  archive.only("naming", "vit-pytorch");
}

void check(const SimpleVitConfig& c) {
  require(c.patch_size.rows > 0 && c.patch_size.columns > 0, "simple_vit",
          "patch_size {} x {} is not positive", c.patch_size.rows, c.patch_size.columns);
  require(c.dim > 0 && c.heads > 0 && c.head_dim > 0 && c.mlp_dim > 0 && c.in_chans > 0, "simple_vit",
          "dim {}, heads {}, head_dim {}, mlp_dim {} and in_chans {} must be positive", c.dim, c.heads,
          c.head_dim, c.mlp_dim, c.in_chans);
  require(c.patch_order == "row_column_channel" || c.patch_order == "channel_row_column", "simple_vit",
          "patch_order is \"{}\"; there are row_column_channel, channel_row_column", c.patch_order);
}

/// A Linear that starts as PyTorch's does.
Linear linear_layer(const Weights& w, std::int64_t in, std::int64_t out, bool bias = true) {
  return {w, in, out, {.bias = bias, .weight_init = Init::fan_in(in), .bias_init = Init::fan_in(in)}};
}

/// x + attention(norm x), then + mlp(norm x).
class Block {
 public:
  Block(const Weights& w, const SimpleVitConfig& c);
  Var operator()(const Context& ctx, Var x) const;

 private:
  AttentionOptions attention_;
  LayerNorm attention_norm_, mlp_norm_;
  Linear to_qkv_, to_out_, fc1_, fc2_;
};

class SimpleVit final : public Model {
 public:
  SimpleVit(SimpleVitConfig config, const Weights& w);
  const std::string& family() const override {
    static const std::string name = "simple_vit";
    return name;
  }
  std::string config() const override;
  std::int64_t num_classes() const override { return config_.num_classes; }
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Pair grid_of(const Var& images) const;
  Var embed(const Context& ctx, const Var& images) const;
  Var encode(const Context& ctx, const Var& images) const;

  SimpleVitConfig config_;
  LayerNorm pixel_norm_, patch_norm_;
  Linear projection_;
  SinCos2d position_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Linear head_;
};

SimpleVit::SimpleVit(SimpleVitConfig config, const Weights& w) : Model(w), config_(std::move(config)) {
  const SimpleVitConfig& c = config_;
  const std::int64_t pixels = c.patch_size.rows * c.patch_size.columns * c.in_chans;
  const Weights patch = w / "to_patch_embedding", transformer = w / "transformer";
  position_ = SinCos2d(c.dim, c.temperature);
  // Place 0 of the sequence is the rearrangement, which has no numbers.
  if (c.patch_norm) pixel_norm_ = LayerNorm(patch / 1, pixels, c.norm_eps);
  projection_ = linear_layer(patch / (c.patch_norm ? 2 : 1), pixels, c.dim);
  if (c.patch_norm) patch_norm_ = LayerNorm(patch / 3, c.dim, c.norm_eps);
  for (std::int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(transformer / "layers" / i, c);
  norm_ = LayerNorm(transformer / "norm", c.dim, c.norm_eps);
  if (c.num_classes > 0) head_ = linear_layer(w / "linear_head", c.dim, c.num_classes);
}

Var SimpleVit::forward(const Context& ctx, const Var& images) const {
  const Var pooled = mean_pool(ctx, encode(ctx, images));  // (B, C)
  return config_.num_classes > 0 ? head_(ctx, pooled) : pooled;
}

Features SimpleVit::features(const Context& ctx, const Var& images) const {
  const Pair grid = grid_of(images);
  Features out;
  out.rows = grid.rows;
  out.columns = grid.columns;
  out.patches = encode(ctx, images);
  out.cls = mean_pool(ctx, out.patches);
  return out;
}

Var SimpleVit::encode(const Context& ctx, const Var& images) const {
  Var x = embed(ctx, images);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i](ctx, x);
    ctx.show([i] { return fmt::format("transformer.layers.{}", i); }, x);
  }
  x = norm_(ctx, x);
  ctx.show([] { return "transformer"; }, x);
  return x;
}

/// Patches, projected, with position: (B, rows * columns, C).
Var SimpleVit::embed(const Context& ctx, const Var& images) const {
  const SimpleVitConfig& c = config_;
  const Pair grid = grid_of(images);
  const PatchOrder order =
      c.patch_order == "row_column_channel" ? PatchOrder::row_column_channel : PatchOrder::channel_row_column;
  Var x = patchify(ctx, images, c.patch_size.rows, c.patch_size.columns, order);
  if (c.patch_norm) x = pixel_norm_(ctx, x);
  x = projection_(ctx, x);
  if (c.patch_norm) x = patch_norm_(ctx, x);
  ctx.show([] { return "to_patch_embedding"; }, x);
  const Tensor table = position_.table(grid.rows, grid.columns);
  return add(ctx, x, Var(table.reshaped({table.dim(1), table.dim(2)})));
}

Block::Block(const Weights& w, const SimpleVitConfig& c)
    : attention_norm_(w / 0 / "norm", c.dim, c.norm_eps),
      mlp_norm_(w / 1 / "net" / 0, c.dim, c.norm_eps),
      to_qkv_(linear_layer(w / 0 / "to_qkv", c.dim, 3 * c.heads * c.head_dim, false)),
      to_out_(linear_layer(w / 0 / "to_out", c.heads * c.head_dim, c.dim, false)),
      fc1_(linear_layer(w / 1 / "net" / 1, c.dim, c.mlp_dim)),
      fc2_(linear_layer(w / 1 / "net" / 3, c.mlp_dim, c.dim)) {
  attention_.heads = c.heads;
}

Var Block::operator()(const Context& ctx, Var x) const {
  const Var qkv = to_qkv_(ctx, attention_norm_(ctx, x));  // (B, N, 3 H D)
  x = to_out_(ctx, attention(ctx, qkv, attention_), Activation::none, x);
  return fc2_(ctx, fc1_(ctx, mlp_norm_(ctx, x), Activation::gelu), Activation::none, x);
}

Pair SimpleVit::grid_of(const Var& images) const {
  const Shape& shape = images.shape();
  const Pair& patch = config_.patch_size;
  require(shape.rank() == 4 && shape[1] == config_.in_chans && shape[0] > 0, "simple_vit",
          "images of shape {}; (B, {}, H, W) was expected", shape.str(), config_.in_chans);
  require(shape[2] > 0 && shape[3] > 0 && shape[2] % patch.rows == 0 && shape[3] % patch.columns == 0,
          "simple_vit",
          "an image of {} x {} is no multiple of the patch {} x {}; the nearest size is {} x {}", shape[2],
          shape[3], patch.rows, patch.columns,
          std::max<std::int64_t>((shape[2] + patch.rows / 2) / patch.rows, 1) * patch.rows,
          std::max<std::int64_t>((shape[3] + patch.columns / 2) / patch.columns, 1) * patch.columns);
  return {shape[2] / patch.rows, shape[3] / patch.columns};
}

std::string SimpleVit::config() const {
  ConfigWriter writer;
  fields(writer, config_);
  return writer.str();
}

}  // namespace

std::unique_ptr<Model> make_simple_vit(const std::string& config_json, const Weights& weights) {
  ConfigReader reader("simple_vit", config_json);
  SimpleVitConfig config;
  fields(reader, config);
  reader.finish();
  check(config);
  return std::make_unique<SimpleVit>(std::move(config), weights);
}

void register_simple_vit(std::vector<ModelEntry>& entries) {
  struct Size {
    const char* name;
    std::int64_t dim, depth, heads;
  };
  Preprocess preprocess;  // short side 256, crop 224, to [-1, 1]
  preprocess.resize_to = 256;
  preprocess.crop_pct = 0.875;
  preprocess.mean = preprocess.std = {0.5f, 0.5f, 0.5f};
  for (const Size& size : {Size{"tiny", 192, 12, 3}, Size{"small", 384, 12, 6}, Size{"base", 768, 12, 12}})
    entries.push_back({fmt::format("simple_vit_{}_patch16_224", size.name),
                       {fmt::format("simple_vit_{}", size.name)},
                       "simple_vit",
                       fmt::format(R"({{"dim":{},"depth":{},"heads":{},"mlp_dim":{}}})", size.dim, size.depth,
                                   size.heads, 4 * size.dim),
                       preprocess,
                       "SimpleViT, Beyer et al. 2022; 2-D sine-cosine positions, mean of the patches"});
}

}  // namespace locant
