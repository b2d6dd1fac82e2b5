// ViT: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", figure 1. DeiT: Touvron et al. 2021, figure
// 2 (distillation token). DeiT III: Touvron et al. 2022 (LayerScale). Checkpoints: timm, torchvision, Hugging
// Face; tensor names and stage paths here are timm's.
#include "models/vit.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "models/config_json.h"
#include "models/deit.h"
#include "nn/layers.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "position/learned_absolute.h"

namespace locant {
namespace {

struct VitConfig {
  std::string naming = "timm";  // whose conventions fill what is not given: norm_eps, pos_resize
  Pair img_size = {224, 224};   // what the position table is made for
  Pair patch_size = {16, 16};
  std::int64_t in_chans = 3, num_classes = 1000;
  std::int64_t dim = 768, depth = 12, heads = 12;
  double mlp_ratio = 4.0;
  std::string qkv_bias = "full";  // or none
  float norm_eps = 1e-6f;
  std::vector<std::string> prefix_tokens = {"cls_token"};
  bool pos_embed_prefix = true;  // the table has rows for the prefix tokens (DeiT III: false)
  std::string pos_resize =
      "bicubic_antialias";  // timm's; torchvision: bicubic_corners, Hugging Face: bicubic
  bool layer_scale = false;
  std::string pool = "cls";  // cls, mean_patches, mean_two_heads (average of both heads), none (all tokens)
  double dropout = 0.0, drop_path = 0.0;

  Pair grid() const { return {img_size.rows / patch_size.rows, img_size.columns / patch_size.columns}; }
  std::int64_t prefix() const { return static_cast<std::int64_t>(prefix_tokens.size()); }
  std::int64_t hidden() const { return static_cast<std::int64_t>(static_cast<double>(dim) * mlp_ratio); }
};

template <class Archive, class Config>
void fields(Archive& archive, Config& c) {
  archive.field("naming", c.naming);
  transformer_fields(archive, c);
  archive.field("num_classes", c.num_classes);
  archive.field("mlp_ratio", c.mlp_ratio);
  archive.field("qkv_bias", c.qkv_bias);
  archive.field("norm_eps", c.norm_eps);
  archive.field("prefix_tokens", c.prefix_tokens);
  archive.field("pos_embed_prefix", c.pos_embed_prefix);
  archive.field("pos_resize", c.pos_resize);
  archive.field("layer_scale", c.layer_scale);
  archive.field("pool", c.pool);
  archive.field("dropout", c.dropout);
  archive.field("drop_path", c.drop_path);
  archive.only("act", "gelu");
  archive.only("pos_embed", "learned");
}

/// What a library's own code does where its checkpoints do not say.
void follow_naming(VitConfig& c) {
  if (c.naming == "transformers") {
    c.norm_eps = 1e-12f;
    c.pos_resize = "bicubic";
  } else if (c.naming == "torchvision") {
    c.pos_resize = "bicubic_corners";
  }
}

void check(const std::string& family, const VitConfig& c) {
  require(c.patch_size.rows > 0 && c.patch_size.columns > 0 && c.img_size.rows > 0 &&
              c.img_size.columns > 0 && c.img_size.rows % c.patch_size.rows == 0 &&
              c.img_size.columns % c.patch_size.columns == 0,
          family, "img_size {} x {} is no positive multiple of patch_size {} x {}", c.img_size.rows,
          c.img_size.columns, c.patch_size.rows, c.patch_size.columns);
  require(c.heads > 0 && c.dim > 0 && c.dim % c.heads == 0, family, "dim {} does not divide into {} heads",
          c.dim, c.heads);
  require(c.in_chans > 0 && c.hidden() > 0 && c.mlp_ratio < 1024, family,
          "in_chans {} and mlp_ratio {} must be positive (mlp_ratio below 1024)", c.in_chans, c.mlp_ratio);
  require(c.qkv_bias == "full" || c.qkv_bias == "none", family,
          "qkv_bias is \"{}\"; full or none was expected", c.qkv_bias);
  require(c.pool == "cls" || c.pool == "mean_patches" || c.pool == "mean_two_heads" || c.pool == "none",
          family, "pool is \"{}\"; there are cls, mean_patches, mean_two_heads, none", c.pool);
  const bool one = c.prefix_tokens == std::vector<std::string>{"cls_token"};
  const bool two = c.prefix_tokens == std::vector<std::string>{"cls_token", "dist_token"};
  require(one || two || c.prefix_tokens.empty(), family,
          "prefix_tokens are [{}]; there are [cls_token], [cls_token, dist_token] and none",
          fmt::join(c.prefix_tokens, ", "));
  require(two || c.pool != "mean_two_heads", family, "pool mean_two_heads needs the prefix token dist_token");
  require(!c.prefix_tokens.empty() || c.pool != "cls", family, "pool cls needs the prefix token cls_token");
  require(c.dropout >= 0 && c.dropout < 1 && c.drop_path >= 0 && c.drop_path < 1, family,
          "dropout {} and drop_path {} must be in [0, 1)", c.dropout, c.drop_path);
}

/// x + attention(norm1 x), then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const VitConfig& c, float drop_path);
  /// `row`, when given, gets the attention of token 0: (B, H, N).
  Var operator()(const Context& ctx, Var x, Tensor* row = nullptr) const;

 private:
  template <class Branch>
  Var residual(const Context& ctx, const Var& x, const Var& gamma, const Branch& branch) const;

  AttentionOptions attention_;
  float dropout_, drop_path_;
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_;
  Mlp mlp_;
  Var scale1_, scale2_;  // LayerScale, undefined without
};

class Vit final : public Model {
 public:
  Vit(std::string family, VitConfig config, const Weights& w);
  const std::string& family() const override { return family_; }
  std::string config() const override;
  std::int64_t num_classes() const override { return config_.num_classes; }
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Pair grid_of(const Var& images) const;
  Var embed(const Context& ctx, const Var& images) const;
  Var encode(const Context& ctx, const Var& images, Tensor* row) const;
  Var token(const Context& ctx, const Var& x, std::int64_t index) const;

  std::string family_;
  VitConfig config_;
  PatchEmbed patch_embed_;
  std::vector<Var> prefix_;  // (1, 1, C) each
  LearnedAbsolute position_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Linear head_, head_dist_;
};

Vit::Vit(std::string family, VitConfig config, const Weights& w)
    : Model(w), family_(std::move(family)), config_(std::move(config)) {
  const VitConfig& c = config_;
  for (const std::string& name : c.prefix_tokens)
    prefix_.push_back(w.get(name, {1, 1, c.dim}, Init::trunc_normal(0.02f), {.decay = false}));
  const Pair grid = c.grid();
  const std::int64_t table_prefix = c.pos_embed_prefix ? c.prefix() : 0;
  position_ = LearnedAbsolute(w.get("pos_embed", {1, table_prefix + grid.rows * grid.columns, c.dim},
                                    Init::trunc_normal(0.02f), {.decay = false}),
                              {grid.rows, grid.columns, table_prefix, parse_position_resize(c.pos_resize)});
  patch_embed_ =
      PatchEmbed(w / "patch_embed" / "proj", c.in_chans, c.patch_size.rows, c.patch_size.columns, c.dim);
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const double rate =
        c.depth > 1 ? c.drop_path * static_cast<double>(i) / static_cast<double>(c.depth - 1) : 0.0;
    blocks_.emplace_back(w / "blocks" / i, c, static_cast<float>(rate));
  }
  norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
  if (c.num_classes == 0) return;
  head_ = Linear(w / "head", c.dim, c.num_classes);
  if (c.pool == "mean_two_heads") head_dist_ = Linear(w / "head_dist", c.dim, c.num_classes);
}

Var Vit::forward(const Context& ctx, const Var& images) const {
  const VitConfig& c = config_;
  const Var x = encode(ctx, images, nullptr);  // (B, N, C)
  if (c.pool == "none") return x;
  const Var pooled = c.pool == "mean_patches" ? mean_pool(ctx, x, c.prefix()) : token(ctx, x, 0);
  if (c.pool != "mean_two_heads") {
    if (c.num_classes == 0) return pooled;
    const Var logits = head_(ctx, pooled);
    ctx.show([] { return "head"; }, logits);
    return logits;
  }
  const Var distilled = token(ctx, x, 1);
  if (c.num_classes == 0) return average(ctx, pooled, distilled);
  const Var logits = head_(ctx, pooled), logits_dist = head_dist_(ctx, distilled);
  ctx.show([] { return "head"; }, logits);
  ctx.show([] { return "head_dist"; }, logits_dist);
  return average(ctx, logits, logits_dist);
}

Features Vit::features(const Context& ctx, const Var& images) const {
  const Pair grid = grid_of(images);
  const bool has_cls = config_.prefix() > 0;
  Tensor row;
  const Var x = encode(ctx, images, has_cls ? &row : nullptr);
  Features out;
  out.rows = grid.rows;
  out.columns = grid.columns;
  out.patches = has_cls ? select_rows(ctx, x, config_.prefix(), x.dim(1)) : x;
  out.cls = has_cls ? token(ctx, x, 0) : mean_pool(ctx, x);
  if (!row.defined()) return out;
  const Shape rows{row.dim(0) * row.dim(1), row.dim(2), 1};  // cut the prefix off the keys
  const Var patches = select_rows(Context{}, Var(row.reshaped(rows)), config_.prefix(), row.dim(2));
  out.attention = patches.value().reshaped({row.dim(0), row.dim(1), grid.rows * grid.columns});
  return out;
}

Var Vit::encode(const Context& ctx, const Var& images, Tensor* row) const {
  Var x = embed(ctx, images);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i](ctx, x, i + 1 == blocks_.size() ? row : nullptr);
    ctx.show([i] { return fmt::format("blocks.{}", i); }, x);
  }
  x = norm_(ctx, x);
  ctx.show([] { return "norm"; }, x);
  return x;
}

/// [cls | dist | patches] + position: (B, prefix + rows * columns, C).
Var Vit::embed(const Context& ctx, const Var& images) const {
  const Pair grid = grid_of(images);
  const Var patches = patch_embed_(ctx, images);
  ctx.show([] { return "patch_embed"; }, patches);
  const Var table = position_.table(ctx, grid.rows, grid.columns);
  ctx.show([] { return "resampled pos_embed"; }, table);
  const Var rows = reshape(ctx, table, {table.dim(1), table.dim(2)});
  std::vector<Var> parts = prefix_;
  parts.push_back(config_.pos_embed_prefix ? patches : add(ctx, patches, rows));
  Var x = prefix_.empty() ? parts[0] : concat_rows(ctx, parts);
  if (config_.pos_embed_prefix) x = add(ctx, x, rows);
  x = dropout(ctx, x, static_cast<float>(config_.dropout));
  ctx.show([] { return "pos_drop"; }, x);
  return x;
}

Block::Block(const Weights& w, const VitConfig& c, float drop_path)
    : dropout_(static_cast<float>(c.dropout)),
      drop_path_(drop_path),
      norm1_(w / "norm1", c.dim, c.norm_eps),
      norm2_(w / "norm2", c.dim, c.norm_eps),
      qkv_(w / "attn" / "qkv", c.dim, 3 * c.dim, {.bias = c.qkv_bias == "full"}),
      proj_(w / "attn" / "proj", c.dim, c.dim),
      mlp_(w / "mlp", c.dim, c.hidden()) {
  attention_.heads = c.heads;
  if (!c.layer_scale) return;
  scale1_ = w.get("ls1.gamma", {c.dim}, Init::constant(1e-5f));
  scale2_ = w.get("ls2.gamma", {c.dim}, Init::constant(1e-5f));
}

Var Block::operator()(const Context& ctx, Var x, Tensor* row) const {
  x = residual(ctx, x, scale1_, [&](const Var& skip) {
    const Var qkv = qkv_(ctx, norm1_(ctx, x));  // (B, N, 3 C)
    if (row != nullptr) *row = attention_row(qkv.value(), attention_.heads, 0.0f, 0);
    return proj_(ctx, attention(ctx, qkv, attention_), Activation::none, skip);
  });
  return residual(ctx, x, scale2_, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), skip); });
}

/// x + drop_path(gamma * dropout(branch)); where none of these acts, the branch's last product adds x itself.
template <class Branch>
Var Block::residual(const Context& ctx, const Var& x, const Var& gamma, const Branch& branch) const {
  const bool drops = ctx.train && (drop_path_ > 0 || dropout_ > 0);
  if (!drops && !gamma.defined()) return branch(x);
  Var y = branch(Var());
  if (!drops) return layer_scale(ctx, y, gamma, x);
  y = dropout(ctx, y, dropout_);
  if (gamma.defined()) y = layer_scale(ctx, y, gamma, Var());
  return add(ctx, x, drop_path(ctx, y, drop_path_));
}

Var Vit::token(const Context& ctx, const Var& x, std::int64_t index) const {
  return reshape(ctx, select_rows(ctx, x, index, index + 1), {x.dim(0), x.dim(2)});
}

Pair Vit::grid_of(const Var& images) const {
  const Shape& shape = images.shape();
  const Pair& patch = config_.patch_size;
  require(shape.rank() == 4 && shape[1] == config_.in_chans && shape[0] > 0, family_,
          "images of shape {}; (B, {}, H, W) was expected", shape.str(), config_.in_chans);
  require(shape[2] >= patch.rows && shape[3] >= patch.columns && shape[2] % patch.rows == 0 &&
              shape[3] % patch.columns == 0,
          family_, "an image of {} x {} is no multiple of the patch {} x {}; the nearest size is {} x {}",
          shape[2], shape[3], patch.rows, patch.columns,
          std::max<std::int64_t>((shape[2] + patch.rows / 2) / patch.rows, 1) * patch.rows,
          std::max<std::int64_t>((shape[3] + patch.columns / 2) / patch.columns, 1) * patch.columns);
  return {shape[2] / patch.rows, shape[3] / patch.columns};
}

std::string Vit::config() const {
  ConfigWriter writer;
  fields(writer, config_);
  return writer.str();
}

std::unique_ptr<Model> make(const std::string& family, VitConfig config, const std::string& json,
                            const Weights& weights) {
  ConfigReader reader(family, json);
  reader.field("naming", config.naming);
  follow_naming(config);
  fields(reader, config);
  reader.finish();
  check(family, config);
  return std::make_unique<Vit>(family, std::move(config), weights);
}

struct Size {
  const char *name, *initial;
  std::int64_t dim, depth, heads;
};

constexpr Size kTiny = {"tiny", "ti", 192, 12, 3};
constexpr Size kSmall = {"small", "s", 384, 12, 6};
constexpr Size kBase = {"base", "b", 768, 12, 12};
constexpr Size kLarge = {"large", "l", 1024, 24, 16};
constexpr Size kHuge = {"huge", "h", 1280, 32, 16};

std::string json_of(const Size& size, std::int64_t patch, std::int64_t image, const char* more = "") {
  return fmt::format(R"({{"img_size":{},"patch_size":{},"dim":{},"depth":{},"heads":{}{}}})", image, patch,
                     size.dim, size.depth, size.heads, more);
}

Preprocess preprocess_of(std::int64_t image, double crop, std::int64_t resize_to, ResizeFilter filter,
                         bool half) {
  Preprocess out;
  out.rows = out.columns = image;
  out.crop_pct = crop;
  out.resize_to = resize_to;
  out.filter = filter;
  if (half) out.mean = out.std = {0.5f, 0.5f, 0.5f};
  return out;
}

}  // namespace

std::unique_ptr<Model> make_vit(const std::string& config_json, const Weights& weights) {
  return make("vit", VitConfig{}, config_json, weights);
}

std::unique_ptr<Model> make_deit(const std::string& config_json, const Weights& weights) {
  return make("deit", VitConfig{}, config_json, weights);
}

void register_vit(std::vector<ModelEntry>& entries) {
  const auto add = [&](const Size& size, std::int64_t patch, std::int64_t image) {
    const std::string name = fmt::format("vit_{}_patch{}_{}", size.name, patch, image);
    std::vector<std::string> aliases;
    if (image == 224)
      aliases = {fmt::format("vit_{}_{}", size.name, patch), fmt::format("vit_{}{}", size.initial, patch)};
    entries.push_back({name, aliases, "vit", json_of(size, patch, image),
                       preprocess_of(image, image == 224 ? 0.9 : 1.0, 0, ResizeFilter::bicubic, true),
                       "ViT, Dosovitskiy et al. 2021; names and preprocessing of timm"});
  };
  for (const Size& size : {kTiny, kSmall, kBase, kLarge})
    for (const std::int64_t image : {224, 384}) add(size, 16, image);
  for (const Size& size : {kSmall, kBase, kLarge})
    for (const std::int64_t image : {224, 384}) add(size, 32, image);
  for (const Size& size : {kSmall, kBase}) add(size, 8, 224);
  for (const Size& size : {kLarge, kHuge}) add(size, 14, 224);

  // torchvision trains its own: other preprocessing and another resize rule of the table.
  for (const Size& size : {kBase, kLarge})
    for (const std::int64_t patch : {16, 32}) {
      const std::int64_t short_side = size.dim == kLarge.dim && patch == 16 ? 242 : 256;
      entries.push_back({fmt::format("vit_{}_{}", size.initial, patch),
                         {},
                         "vit",
                         json_of(size, patch, 224, R"(,"naming":"torchvision")"),
                         preprocess_of(224, 0.875, short_side, ResizeFilter::bilinear, false),
                         "ViT as trained by torchvision"});
    }
}

void register_deit(std::vector<ModelEntry>& entries) {
  constexpr const char* kDistilled = R"(,"prefix_tokens":["cls_token","dist_token"],"pool":"mean_two_heads")";
  for (const Size& size : {kTiny, kSmall, kBase})
    for (const bool distilled : {false, true})
      for (const std::int64_t image : {224, 384}) {
        if (image == 384 && size.dim != kBase.dim) continue;
        const std::string middle = distilled ? "_distilled" : "";
        std::vector<std::string> aliases;
        if (image == 224)
          aliases = {fmt::format("deit_{}{}", size.name, middle),
                     fmt::format("deit_{}{}", size.initial, middle)};
        entries.push_back({fmt::format("deit_{}{}_patch16_{}", size.name, middle, image), aliases, "deit",
                           json_of(size, 16, image, distilled ? kDistilled : ""),
                           preprocess_of(image, image == 224 ? 0.875 : 1.0, 0, ResizeFilter::bicubic, false),
                           distilled
                               ? "DeiT with distillation token, Touvron et al. 2021; both heads averaged"
                               : "DeiT, Touvron et al. 2021"});
      }
  constexpr const char* kThree = R"(,"pos_embed_prefix":false,"layer_scale":true)";
  for (const Size& size : {kSmall, kBase, kLarge, kHuge}) {
    const std::int64_t patch = size.dim == kHuge.dim ? 14 : 16;
    entries.push_back({fmt::format("deit3_{}_patch{}_224", size.name, patch),
                       {fmt::format("deit3_{}", size.name)},
                       "deit",
                       json_of(size, patch, 224, kThree),
                       preprocess_of(224, 1.0, 0, ResizeFilter::bicubic, false),
                       "DeiT III, Touvron et al. 2022: LayerScale, no position for the class token"});
  }
}

}  // namespace locant
