// SimpleViT: Beyer, Zhai, Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k": ViT with fixed 2-D
// sine-cosine positions, no class token and mean pooling. Names and details: the vit-pytorch package.
#include <fmt/format.h>

#include "autograd/checkpoint.h"
#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/layout.h"
#include "position/sincos.h"

namespace locant {
namespace simple_vit_model {
namespace {

struct SimpleVitConfig {
  PatchInput input = {};  // any multiple of the patch runs: positions are a formula
  std::int64_t dim = 384, depth = 12, heads = 6, head_dim = 64, mlp_dim = 1536;
  float norm_eps = 1e-5f;
  double temperature = 10000.0;
  bool patch_norm = true;  // layer norms before and after the patch projection
  PatchOrder patch_order = PatchOrder::row_column_channel;
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("dim", c.dim, at_least(1));
  a.field("depth", c.depth, range(0, 1024));
  a.field("heads", c.heads, range(1, 1024));
  a.field("head_dim", c.head_dim, at_least(1));
  a.field("mlp_dim", c.mlp_dim, at_least(1));
  a.field("norm_eps", c.norm_eps);
  a.field("temperature", c.temperature);
  a.field("patch_norm", c.patch_norm);
  a.choice("patch_order", c.patch_order, {"channel_row_column", "row_column_channel"});
  a.only("qkv_bias", "none");
  a.only("act", "gelu");
  a.only("pos_embed", "sincos_2d");
  a.only("pool", "mean");
}

/// A Linear that starts as PyTorch's does.
Linear linear_layer(const Weights& w, std::int64_t in, std::int64_t out, bool bias = true) {
  return {w, in, out, {.bias = bias, .weight_init = Init::fan_in(in), .bias_init = Init::fan_in(in)}};
}

/// x + attention(norm x), then + mlp(norm x).
class Block {
 public:
  Block(const Weights& w, const SimpleVitConfig& c)
      : attention_norm_(w / 0 / "norm", c.dim, c.norm_eps),
        mlp_norm_(w / 1 / "net" / 0, c.dim, c.norm_eps),
        to_qkv_(linear_layer(w / 0 / "to_qkv", c.dim, 3 * c.heads * c.head_dim, false)),
        to_out_(linear_layer(w / 0 / "to_out", c.heads * c.head_dim, c.dim, false)),
        fc1_(linear_layer(w / 1 / "net" / 1, c.dim, c.mlp_dim)),
        fc2_(linear_layer(w / 1 / "net" / 3, c.mlp_dim, c.dim)) {
    attention_.heads = c.heads;
  }
  Var operator()(const Context& ctx, Var x) const {
    const Var qkv = to_qkv_(ctx, attention_norm_(ctx, x));  // (B, N, 3 H D)
    x = to_out_(ctx, attention(ctx, qkv, attention_), Activation::none, x);
    return fc2_(ctx, fc1_(ctx, mlp_norm_(ctx, x), Activation::gelu), Activation::none, x);
  }

 private:
  AttentionOptions attention_;
  LayerNorm attention_norm_, mlp_norm_;
  Linear to_qkv_, to_out_, fc1_, fc2_;
};

class SimpleVit final : public ImageModelOf<SimpleVitConfig> {
 public:
  SimpleVit(const Family& family, SimpleVitConfig config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Var embed(const Context& ctx, const Var& images) const;
  Var encode(const Context& ctx, const Var& images) const;

  LayerNorm pixel_norm_, patch_norm_;
  Linear projection_;
  SinCos2d position_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Linear head_;
};

SimpleVit::SimpleVit(const Family& family, SimpleVitConfig config, const Weights& w)
    : ImageModelOf(family, std::move(config)) {
  const SimpleVitConfig& c = this->c();
  const std::int64_t pixels = c.input.patch_size.rows * c.input.patch_size.columns * c.input.in_chans;
  const Weights patch = w / "to_patch_embedding", transformer = w / "transformer";
  position_ = SinCos2d(c.dim, c.temperature);
  // Place 0 of the sequence is the rearrangement, which has no numbers.
  if (c.patch_norm) pixel_norm_ = LayerNorm(patch / 1, pixels, c.norm_eps);
  projection_ = linear_layer(patch / (c.patch_norm ? 2 : 1), pixels, c.dim);
  if (c.patch_norm) patch_norm_ = LayerNorm(patch / 3, c.dim, c.norm_eps);
  for (std::int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(transformer / "layers" / i, c);
  norm_ = LayerNorm(transformer / "norm", c.dim, c.norm_eps);
  if (c.input.num_classes > 0) head_ = linear_layer(w / "linear_head", c.dim, c.input.num_classes);
}

Var SimpleVit::forward(const Context& ctx, const Var& images) const {
  const Var pooled = mean_pool(ctx, encode(ctx, images));  // (B, C)
  return head_.defined() ? head_(ctx, pooled) : pooled;
}

Features SimpleVit::features(const Context& ctx, const Var& images) const {
  const Var x = encode(ctx, images);
  Features out;
  out.levels = {{x, c().input.grid(op(), images), c().input.patch_size.rows}};
  out.cls = mean_pool(ctx, x);
  return out;
}

Var SimpleVit::encode(const Context& ctx, const Var& images) const {
  Var x = embed(ctx, images);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = checkpointed(ctx, x, [this, i](const Context& c, const Var& y) { return blocks_[i](c, y); });
    ctx.show([i] { return fmt::format("transformer.layers.{}", i); }, x);
  }
  x = norm_(ctx, x);
  ctx.show([] { return "transformer"; }, x);
  return x;
}

/// Patches, projected, with position: (B, rows * columns, C).
Var SimpleVit::embed(const Context& ctx, const Var& images) const {
  const Grid grid = c().input.grid(op(), images);
  const Pair& patch = c().input.patch_size;
  Var x = patchify(ctx, images, patch.rows, patch.columns, c().patch_order);
  if (c().patch_norm) x = pixel_norm_(ctx, x);
  x = projection_(ctx, x);
  if (c().patch_norm) x = patch_norm_(ctx, x);
  ctx.show([] { return "to_patch_embedding"; }, x);
  const Tensor table = position_.table(grid.rows, grid.columns);
  return add(ctx, x, Var(table.reshaped({table.dim(1), table.dim(2)})));
}

void from_shapes(const NamedShapes& s, SimpleVitConfig& c) {
  c.patch_norm = s.has("to_patch_embedding.2.weight");
  const char* projection = c.patch_norm ? "to_patch_embedding.2.weight" : "to_patch_embedding.1.weight";
  c.dim = s.dim(projection, 0);
  c.depth = s.count("transformer.layers", ".0.norm.weight");
  c.mlp_dim = s.dim("transformer.layers.0.1.net.1.weight", 0);
  c.input.num_classes = s.has("linear_head.weight") ? s.dim("linear_head.weight", 0) : 0;
  const std::int64_t pixels = s.dim(projection, 1), inner = s.dim("transformer.layers.0.0.to_out.weight", 1);
  const Pair& patch = c.input.patch_size;
  const Pair side = NamedShapes::square(pixels / c.input.in_chans);
  const bool known = patch.rows * patch.columns * c.input.in_chans == pixels;
  require(known || (side.rows > 0 && pixels % c.input.in_chans == 0), "simple_vit",
          "{} has {} inputs: no square patch of {} channels, so that patch_size and in_chans must be told",
          projection, pixels, c.input.in_chans);
  s.assume("patch_size", c.input.patch_size, side, known);
  s.assume("in_chans", c.input.in_chans);
  s.assume("img_size", c.input.img_size);
  s.assume("head_dim", c.head_dim);
  c.heads = inner / c.head_dim;
  require(c.heads > 0 && inner % c.head_dim == 0, "simple_vit",
          "to_out has {} inputs: no heads of {} channels, so that head_dim must be told", inner, c.head_dim);
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<SimpleVitConfig>> variants() {
  struct Size {
    const char* name;
    std::int64_t dim, depth, heads;
  };
  Preprocess preprocess;  // short side 256, crop 224, to [-1, 1]
  preprocess.resize_to = 256;
  preprocess.crop_pct = 0.875;
  preprocess.mean = preprocess.std = {0.5f, 0.5f, 0.5f};
  std::vector<Variant<SimpleVitConfig>> out;
  for (const Size& size : {Size{"tiny", 192, 12, 3}, Size{"small", 384, 12, 6}, Size{"base", 768, 12, 12}})
    out.push_back({fmt::format("simple_vit_{}_patch16_224", size.name),
                   {.dim = size.dim, .depth = size.depth, .heads = size.heads, .mlp_dim = 4 * size.dim},
                   preprocess,
                   "SimpleViT, Beyer et al. 2022; 2-D sine-cosine positions, mean of the patches",
                   {fmt::format("simple_vit_{}", size.name)}});
  return out;
}

/// lucidrains' vit-pytorch, as ours.
std::vector<Renames> renames() {
  Renames vit_pytorch;
  vit_pytorch.naming = "vit-pytorch";
  vit_pytorch.derived = {"pos_embedding"};
  return {vit_pytorch};
}

}  // namespace
}  // namespace simple_vit_model

const Family kSimpleVit = family<simple_vit_model::SimpleVit, simple_vit_model::variants,
                                 simple_vit_model::renames, simple_vit_model::from_shapes>("simple_vit");

}  // namespace locant
