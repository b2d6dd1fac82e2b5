// DINOv2: Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision"; with registers:
// Darcet et al. 2023. A pre-norm ViT with LayerScale. Tensor names here are those of Meta's checkpoints,
// stage paths those of timm.
#include "models/dinov2.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "models/config_json.h"
#include "nn/layers.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "position/learned_absolute.h"

namespace locant {
namespace {

struct Dinov2Config {
  Pair img_size = {518, 518};  // what the position table is made for
  Pair patch_size = {14, 14};
  std::int64_t in_chans = 3;
  std::int64_t dim = 384, depth = 12, heads = 6;
  std::string mlp = "plain";  // fc1, GELU, fc2; or swiglu_packed: w12 (gate first), w3
  double mlp_ratio = 4.0;
  std::int64_t mlp_hidden =
      0;  // 0: mlp_ratio * dim, of SwiGLU two thirds of it rounded up to a multiple of 8
  float norm_eps = 1e-6f;
  std::int64_t registers = 0;    // tokens between cls and patches, without position
  bool mask_token = true;        // stored for masked pre-training and never used here
  bool pos_embed_prefix = true;  // the table has a row for cls (timm with registers: false)
  // By origin. Meta without registers: bicubic_offset, Hugging Face: bicubic; with registers all:
  // bicubic_antialias.
  std::string pos_resize = "bicubic_offset";
  std::string pool = "cls";  // or none: all tokens
  double drop_path = 0.0;    // the same in every block

  Pair grid() const { return {img_size.rows / patch_size.rows, img_size.columns / patch_size.columns}; }
  std::int64_t prefix() const { return 1 + registers; }
  bool swiglu() const { return mlp == "swiglu_packed"; }
  std::int64_t hidden() const {
    if (mlp_hidden > 0) return mlp_hidden;
    const auto wide = static_cast<std::int64_t>(static_cast<double>(dim) * mlp_ratio);
    return swiglu() ? (wide * 2 / 3 + 7) / 8 * 8 : wide;
  }
};

template <class Archive, class Config>
void fields(Archive& archive, Config& c) {
  transformer_fields(archive, c);
  archive.field("mlp", c.mlp);
  archive.field("mlp_ratio", c.mlp_ratio);
  archive.field("mlp_hidden", c.mlp_hidden);
  archive.field("norm_eps", c.norm_eps);
  archive.field("registers", c.registers);
  archive.field("mask_token", c.mask_token);
  archive.field("pos_embed_prefix", c.pos_embed_prefix);
  archive.field("pos_resize", c.pos_resize);
  archive.field("pool", c.pool);
  archive.field("drop_path", c.drop_path);
  archive.only("qkv_bias", "full");
  archive.only("pos_embed", "learned");
  archive.only("layer_scale", true);
}

void check(const Dinov2Config& c) {
  require(c.patch_size.rows > 0 && c.patch_size.columns > 0 && c.img_size.rows > 0 &&
              c.img_size.columns > 0 && c.img_size.rows % c.patch_size.rows == 0 &&
              c.img_size.columns % c.patch_size.columns == 0,
          "dinov2", "img_size {} x {} is no positive multiple of patch_size {} x {}", c.img_size.rows,
          c.img_size.columns, c.patch_size.rows, c.patch_size.columns);
  require(c.heads > 0 && c.dim > 0 && c.dim % c.heads == 0, "dinov2", "dim {} does not divide into {} heads",
          c.dim, c.heads);
  require(c.in_chans > 0 && c.mlp_ratio > 0 && c.mlp_ratio < 1024 && c.hidden() > 0, "dinov2",
          "in_chans {} and mlp_ratio {} must be positive (mlp_ratio below 1024)", c.in_chans, c.mlp_ratio);
  require(c.mlp == "plain" || c.mlp == "swiglu_packed", "dinov2",
          "mlp is \"{}\"; there are plain, swiglu_packed", c.mlp);
  require(c.pool == "cls" || c.pool == "none", "dinov2", "pool is \"{}\"; there are cls, none", c.pool);
  require(c.drop_path >= 0 && c.drop_path < 1, "dinov2", "drop_path {} must be in [0, 1)", c.drop_path);
}

/// u -> W3 (silu(a) * b) + b3, [a | b] = W12 u + b12.
struct SwiGluMlp {
  SwiGluMlp(const Weights& w, std::int64_t width, std::int64_t hidden)
      : w12(w / "w12", width, 2 * hidden), w3(w / "w3", hidden, width) {}
  Var operator()(const Context& ctx, const Var& u) const { return w3(ctx, swiglu(ctx, w12(ctx, u))); }
  Linear w12, w3;
};

/// x + ls1 * attention(norm1 x), then + ls2 * mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const Dinov2Config& c);
  /// `row`, when given, gets the attention of token 0: (B, H, N).
  Var operator()(const Context& ctx, Var x, Tensor* row) const;

 private:
  std::string path_;
  AttentionOptions attention_;
  float drop_path_;
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_;
  Var ls1_, ls2_;
  std::vector<Mlp> plain_;  // one of the two
  std::vector<SwiGluMlp> swiglu_;
};

class Dinov2 final : public Model {
 public:
  Dinov2(Dinov2Config config, const Weights& w);
  const std::string& family() const override {
    static const std::string name = "dinov2";
    return name;
  }
  std::string config() const override;
  std::int64_t num_classes() const override { return 0; }
  /// The normed class token (B, C); with pool none all normed tokens (B, N, C).
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Pair grid_of(const Var& images) const;
  Var embed(const Context& ctx, const Var& images) const;
  Var encode(const Context& ctx, const Var& images, Tensor* row) const;
  Var class_token(const Context& ctx, const Var& x) const;

  Dinov2Config config_;
  Var cls_token_, register_tokens_;
  LearnedAbsolute position_;
  PatchEmbed patch_embed_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
};

Dinov2::Dinov2(Dinov2Config config, const Weights& w) : Model(w), config_(std::move(config)) {
  const Dinov2Config& c = config_;
  cls_token_ = w.get("cls_token", {1, 1, c.dim}, Init::normal(1e-6f), {.decay = false});
  if (c.mask_token) w.get("mask_token", {1, c.dim}, Init::zeros(), {.decay = false});
  const Pair grid = c.grid();
  const std::int64_t table_prefix = c.pos_embed_prefix ? 1 : 0;
  position_ = LearnedAbsolute(w.get("pos_embed", {1, table_prefix + grid.rows * grid.columns, c.dim},
                                    Init::trunc_normal(0.02f), {.decay = false}),
                              {grid.rows, grid.columns, table_prefix, parse_position_resize(c.pos_resize)});
  if (c.registers > 0)
    register_tokens_ =
        w.get("register_tokens", {1, c.registers, c.dim}, Init::normal(1e-6f), {.decay = false});
  patch_embed_ =
      PatchEmbed(w / "patch_embed" / "proj", c.in_chans, c.patch_size.rows, c.patch_size.columns, c.dim);
  for (std::int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(w / "blocks" / i, c);
  norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
}

Var Dinov2::forward(const Context& ctx, const Var& images) const {
  const Var x = encode(ctx, images, nullptr);  // (B, N, C)
  if (config_.pool == "none" && ctx.probe == nullptr) return x;
  const Var cls = class_token(ctx, x);
  ctx.show([] { return "pooler_output"; }, cls);
  return config_.pool == "none" ? x : cls;
}

Features Dinov2::features(const Context& ctx, const Var& images) const {
  const Pair grid = grid_of(images);
  Features out;
  out.rows = grid.rows;
  out.columns = grid.columns;
  Tensor row;
  const Var x = encode(ctx, images, &row);
  out.cls = class_token(ctx, x);
  out.patches = select_rows(ctx, x, config_.prefix(), x.dim(1));
  if (!row.defined()) return out;
  const Shape rows{row.dim(0) * row.dim(1), row.dim(2), 1};  // cut cls and registers off the keys
  const Var patches = select_rows(Context{}, Var(row.reshaped(rows)), config_.prefix(), row.dim(2));
  out.attention = patches.value().reshaped({row.dim(0), row.dim(1), grid.rows * grid.columns});
  return out;
}

Var Dinov2::encode(const Context& ctx, const Var& images, Tensor* row) const {
  Var x = embed(ctx, images);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = blocks_[i](ctx, x, i + 1 == blocks_.size() ? row : nullptr);
    ctx.show([i] { return fmt::format("blocks.{}", i); }, x);
  }
  x = norm_(ctx, x);
  ctx.show([] { return "norm"; }, x);
  return x;
}

/// [cls | registers | patches], cls and patches with position: (B, 1 + registers + rows * columns, C).
Var Dinov2::embed(const Context& ctx, const Var& images) const {
  const Pair grid = grid_of(images);
  const Var patches = patch_embed_(ctx, images);
  ctx.show([] { return "patch_embed"; }, patches);
  const Var table = position_.table(ctx, grid.rows, grid.columns);
  ctx.show([] { return "resampled pos_embed"; }, table);
  Var x = config_.pos_embed_prefix ? concat_rows(ctx, {cls_token_, patches}) : patches;
  x = add(ctx, x, reshape(ctx, table, {table.dim(1), table.dim(2)}));
  if (!config_.pos_embed_prefix || register_tokens_.defined()) {
    const std::int64_t positioned = config_.pos_embed_prefix ? 1 : 0;
    std::vector<Var> parts = {positioned == 1 ? select_rows(ctx, x, 0, 1) : cls_token_};
    if (register_tokens_.defined()) parts.push_back(register_tokens_);
    parts.push_back(positioned == 1 ? select_rows(ctx, x, 1, x.dim(1)) : x);
    x = concat_rows(ctx, parts);
  }
  ctx.show([] { return "pos_drop"; }, x);
  return x;
}

Block::Block(const Weights& w, const Dinov2Config& c)
    : path_(w.path()),
      drop_path_(static_cast<float>(c.drop_path)),
      norm1_(w / "norm1", c.dim, c.norm_eps),
      norm2_(w / "norm2", c.dim, c.norm_eps),
      qkv_(w / "attn" / "qkv", c.dim, 3 * c.dim),
      proj_(w / "attn" / "proj", c.dim, c.dim),
      ls1_(w.get("ls1.gamma", {c.dim}, Init::ones())),
      ls2_(w.get("ls2.gamma", {c.dim}, Init::ones())) {
  attention_.heads = c.heads;
  if (c.swiglu())
    swiglu_.emplace_back(w / "mlp", c.dim, c.hidden());
  else
    plain_.emplace_back(w / "mlp", c.dim, c.hidden());
}

Var Block::operator()(const Context& ctx, Var x, Tensor* row) const {
  const auto residual = [&](const Var& y, const Var& gamma) {
    if (!ctx.train || drop_path_ == 0) return layer_scale(ctx, y, gamma, x);
    return add(ctx, x, drop_path(ctx, layer_scale(ctx, y, gamma, Var()), drop_path_));
  };
  const Var qkv = qkv_(ctx, norm1_(ctx, x));  // (B, N, 3 C)
  if (row != nullptr) *row = attention_row(qkv.value(), attention_.heads, 0.0f, 0);
  x = residual(proj_(ctx, attention(ctx, qkv, attention_)), ls1_);
  const Var u = norm2_(ctx, x);
  const Var y = swiglu_.empty() ? plain_[0](ctx, u) : swiglu_[0](ctx, u);
  ctx.show([&] { return path_ + ".mlp"; }, y);
  return residual(y, ls2_);
}

Var Dinov2::class_token(const Context& ctx, const Var& x) const {
  return reshape(ctx, select_rows(ctx, x, 0, 1), {x.dim(0), x.dim(2)});
}

Pair Dinov2::grid_of(const Var& images) const {
  const Shape& shape = images.shape();
  const Pair& patch = config_.patch_size;
  require(shape.rank() == 4 && shape[1] == config_.in_chans && shape[0] > 0, "dinov2",
          "images of shape {}; (B, {}, H, W) was expected", shape.str(), config_.in_chans);
  const auto down = [](std::int64_t side, std::int64_t p) { return std::max<std::int64_t>(side / p, 1) * p; };
  const auto up = [](std::int64_t side, std::int64_t p) {
    return std::max<std::int64_t>((side + p - 1) / p, 1) * p;
  };
  const bool fits =
      shape[2] > 0 && shape[3] > 0 && shape[2] % patch.rows == 0 && shape[3] % patch.columns == 0;
  require(fits, "dinov2",
          "an image of {} x {} (rows x columns) is no multiple of the patch {} x {}; the nearest sizes are "
          "{} x {} and "
          "{} x {}",
          shape[2], shape[3], patch.rows, patch.columns, down(shape[2], patch.rows),
          down(shape[3], patch.columns), up(shape[2], patch.rows), up(shape[3], patch.columns));
  return {shape[2] / patch.rows, shape[3] / patch.columns};
}

std::string Dinov2::config() const {
  ConfigWriter writer;
  fields(writer, config_);
  return writer.str();
}

}  // namespace

std::unique_ptr<Model> make_dinov2(const std::string& config_json, const Weights& weights) {
  ConfigReader reader("dinov2", config_json);
  Dinov2Config config;
  fields(reader, config);
  std::string naming;  // whose tensor names: nothing that this model depends on
  reader.field("naming", naming);
  std::int64_t num_classes = 0;  // the backbone has no head
  reader.field("num_classes", num_classes);
  require(num_classes == 0, "dinov2", "num_classes is {}; the backbone has no head, 0 was expected",
          num_classes);
  reader.only("act", config.swiglu() ? "silu" : "gelu");
  const std::vector<std::string> tokens = {"cls_token"}, meta = {"cls_token", "register_tokens"},
                                 timm = {"cls_token", "reg_token"};
  std::vector<std::string> prefix = config.registers > 0 ? meta : tokens;
  reader.field("prefix_tokens", prefix);
  require(config.registers > 0 ? prefix == meta || prefix == timm : prefix == tokens, "dinov2",
          "prefix_tokens [{}] do not fit {} registers", fmt::join(prefix, ", "), config.registers);
  reader.finish();
  check(config);
  return std::make_unique<Dinov2>(std::move(config), weights);
}

void register_dinov2(std::vector<ModelEntry>& entries) {
  struct Size {
    const char *name, *initial;
    std::int64_t dim, depth, heads;
  };
  // Meta's evaluation: short side 256, centre crop 224. Any multiples of 14 do.
  Preprocess preprocess;
  preprocess.crop_pct = 0.875;
  preprocess.resize_to = 256;
  for (const bool registers : {false, true})
    for (const Size& size : {Size{"small", "s", 384, 12, 6}, Size{"base", "b", 768, 12, 12},
                             Size{"large", "l", 1024, 24, 16}, Size{"giant", "g", 1536, 40, 24}}) {
      const bool giant = size.depth == 40;
      const std::string meta = fmt::format("dinov2_vit{}14{}", size.initial, registers ? "_reg" : "");
      entries.push_back(
          {fmt::format("vit_{}_patch14{}_dinov2", size.name, registers ? "_reg4" : ""),
           {meta, fmt::format("dinov2_{}{}", size.name, registers ? "_reg" : "")},
           "dinov2",
           fmt::format(R"({{"dim":{},"depth":{},"heads":{},"mlp":"{}","registers":{},"pos_resize":"{}"}})",
                       size.dim, size.depth, size.heads, giant ? "swiglu_packed" : "plain", registers ? 4 : 0,
                       registers ? "bicubic_antialias" : "bicubic_offset"),
           preprocess,
           registers ? "DINOv2 with four registers, Darcet et al. 2023; features only"
                     : "DINOv2, Oquab et al. 2023; features only",
           false});
    }
}

}  // namespace locant
