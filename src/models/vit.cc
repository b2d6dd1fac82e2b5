// ViT: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", figure 1. DeiT: Touvron et al. 2021, figure
// 2 (distillation token). DeiT III: Touvron et al. 2022 (LayerScale). Checkpoints: timm, torchvision, Hugging
// Face; tensor names and stage paths here are timm's.
#include <fmt/format.h>

#include "autograd/checkpoint.h"
#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/layout.h"
#include "position/learned_absolute.h"

namespace locant {
namespace vit_model {
namespace {

struct VitConfig {
  enum class Pool { cls, mean_patches, mean_two_heads, none };  // average of both heads; none: all tokens
  PatchInput input;  // img_size: what the position table is made for
  std::int64_t dim = 768, depth = 12, heads = 12;
  double mlp_ratio = 4.0;
  std::int64_t mlp_hidden = 0;  // 0: mlp_ratio * dim
  bool qkv_bias = true;
  float norm_eps = 1e-6f;                                  // Hugging Face: 1e-12
  std::vector<std::string> prefix_tokens = {"cls_token"};  // and dist_token, or none
  bool pos_embed_prefix = true;  // the table has rows for the prefix tokens (DeiT III: false)
  std::string pos_resize =
      "bicubic_antialias";  // timm's; torchvision: bicubic_corners, Hugging Face: bicubic
  bool layer_scale = false;
  float layer_scale_init = 1e-5f;
  Pool pool = Pool::cls;
  bool fc_norm = false;  // the mean of the patches is normed, and no token (MAE's and BEiT's fine-tuning)
  double dropout = 0.0,
         drop_path = 0.0;  // drop_path: the same in every block would be DINOv2; here rising from 0

  std::int64_t prefix() const { return static_cast<std::int64_t>(prefix_tokens.size()); }
  std::int64_t hidden() const { return mlp_hidden > 0 ? mlp_hidden : scaled_width(dim, mlp_ratio); }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(0, 1024));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("mlp_hidden", c.mlp_hidden);
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("prefix_tokens", c.prefix_tokens);
  a.field("pos_embed_prefix", c.pos_embed_prefix);
  a.field("pos_resize", c.pos_resize);
  a.field("layer_scale", c.layer_scale);
  a.field("layer_scale_init", c.layer_scale_init);
  a.choice("pool", c.pool, {"cls", "mean_patches", "mean_two_heads", "none"});
  a.field("fc_norm", c.fc_norm);
  a.field("dropout", c.dropout, rate());
  a.field("drop_path", c.drop_path, rate());
  only_usual(a);
}

void check(const std::string& op, const VitConfig& c) {
  using Pool = VitConfig::Pool;
  c.input.require_whole_patches(op);
  require(c.hidden() > 0, op, "mlp_ratio {} leaves dim {} no hidden channel", c.mlp_ratio, c.dim);
  const bool one = c.prefix_tokens == std::vector<std::string>{"cls_token"};
  const bool two = c.prefix_tokens == std::vector<std::string>{"cls_token", "dist_token"};
  require(one || two || c.prefix_tokens.empty(), op,
          "prefix_tokens are [{}]; there are [cls_token], [cls_token, dist_token] and none",
          fmt::join(c.prefix_tokens, ", "));
  require(two || c.pool != Pool::mean_two_heads, op, "pool mean_two_heads needs the prefix token dist_token");
  require(!c.fc_norm || c.pool == Pool::mean_patches, op, "fc_norm goes with pool mean_patches");
  require(!c.prefix_tokens.empty() || c.pool != Pool::cls, op, "pool cls needs the prefix token cls_token");
}

/// x + attention(norm1 x), then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const VitConfig& c, float drop_path)
      : norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        attention_(w / "attn", c.dim, c.heads, c.qkv_bias),
        mlp_(w / "mlp", c.dim, c.hidden()) {
    const auto residual = [&](const char* gamma) {
      const Var scale = c.layer_scale ? w.get(gamma, {c.dim}, Init::constant(c.layer_scale_init)) : Var();
      return Residual(drop_path, scale, static_cast<float>(c.dropout));
    };
    residual1_ = residual("ls1.gamma");
    residual2_ = residual("ls2.gamma");
  }
  /// `row`, when given, gets the attention of token 0: (B, H, N).
  Var operator()(const Context& ctx, Var x, Tensor* row) const {
    x = residual1_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), skip, row); });
    return residual2_(ctx, x, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), skip); });
  }

 private:
  LayerNorm norm1_, norm2_;
  SelfAttention attention_;
  Mlp mlp_;
  Residual residual1_, residual2_;
};

class Vit final : public ImageModelOf<VitConfig> {
 public:
  Vit(const Family& family, VitConfig config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Var embed(const Context& ctx, const Var& images) const;
  Var encode(const Context& ctx, const Var& images, Tensor* row) const;

  PatchEmbed patch_embed_;
  Prefix prefix_;
  LearnedAbsolute position_;
  std::vector<Block> blocks_;
  FinalPool pool_;
  Head head_, head_dist_;
};

Vit::Vit(const Family& family, VitConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
  const VitConfig& c = this->c();
  for (const std::string& name : c.prefix_tokens) prefix_.add(w, name, 1, c.dim, Init::trunc_normal(0.02f));
  position_ = PositionTable{c.input.grid(), c.pos_embed_prefix ? c.prefix() : 0, c.dim, c.pos_resize}(w);
  patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
  const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
  for (std::size_t i = 0; i < rates.size(); ++i) blocks_.emplace_back(w / "blocks" / i, c, rates[i]);
  pool_ = FinalPool(w, {.width = c.dim,
                        .eps = c.norm_eps,
                        .mean = c.pool == VitConfig::Pool::mean_patches || prefix_.size() == 0,
                        .norms_mean = c.fc_norm});
  head_ = Head(w / "head", c.dim, c.input.num_classes);
  if (c.pool == VitConfig::Pool::mean_two_heads)
    head_dist_ = Head(w / "head_dist", c.dim, c.input.num_classes);
}

Var Vit::forward(const Context& ctx, const Var& images) const {
  using Pool = VitConfig::Pool;
  const Var x = encode(ctx, images, nullptr);  // (B, N, C)
  if (c().pool == Pool::none) return x;
  const Var answer = head_(ctx, pool_(ctx, x, prefix_.size()));
  if (c().pool != Pool::mean_two_heads) return answer;
  return average(ctx, answer, head_dist_(ctx, Prefix::token(ctx, x, 1)));
}

Features Vit::features(const Context& ctx, const Var& images) const {
  Tensor row;
  const bool has_cls = prefix_.size() > 0;
  const Var x = encode(ctx, images, has_cls ? &row : nullptr);
  Features out;
  out.levels = {c().input.level(op(), images, prefix_.cut(ctx, x))};
  out.cls = pool_(ctx, x, prefix_.size());
  if (row.defined()) out.attention = prefix_.cut_row(row);
  return out;
}

Var Vit::encode(const Context& ctx, const Var& images, Tensor* row) const {
  Var x = embed(ctx, images);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (row != nullptr && i + 1 == blocks_.size())
      x = blocks_[i](ctx, x, row);
    else
      x = checkpointed(ctx, x,
                       [this, i](const Context& c, const Var& y) { return blocks_[i](c, y, nullptr); });
    ctx.shown("blocks", static_cast<std::int64_t>(i), x);
  }
  return pool_.tokens(ctx, x);
}

/// [cls | dist | patches] + position: (B, prefix + rows * columns, C).
Var Vit::embed(const Context& ctx, const Var& images) const {
  const Grid grid = c().input.grid(op(), images);
  const Var patches = ctx.shown("patch_embed", patch_embed_(ctx, images));
  Var x;
  if (c().pos_embed_prefix)
    x = position_.add_to(ctx, prefix_.before(ctx, patches), grid.rows, grid.columns);
  else
    x = prefix_.before(ctx, position_.add_to(ctx, patches, grid.rows, grid.columns));
  return ctx.shown("pos_drop", dropout(ctx, x, static_cast<float>(c().dropout)));
}

void from_shapes(const NamedShapes& s, VitConfig& c) {
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  if (const std::int64_t wide = s.dim("blocks.0.mlp.fc1.weight", 0); wide != c.hidden()) c.mlp_hidden = wide;
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  c.layer_scale = s.has("blocks.0.ls1.gamma");
  c.prefix_tokens.clear();
  for (const char* token : {"cls_token", "dist_token"})
    if (s.has(token)) c.prefix_tokens.emplace_back(token);
  using Pool = VitConfig::Pool;
  c.fc_norm = s.has("fc_norm.weight");
  if (s.has("head_dist.weight")) c.pool = Pool::mean_two_heads;
  if (c.prefix_tokens.empty() || c.fc_norm) c.pool = Pool::mean_patches;
  if (!s.has("head_dist.weight") && c.pool == Pool::mean_two_heads) c.pool = Pool::cls;
  // A table without rows for the prefix is one whose other rows are a square, and that is none with them.
  const std::int64_t rows = s.dim("pos_embed", 1), told = s.told("img_size") ? c.input.grid().tokens() : 0;
  c.pos_embed_prefix = NamedShapes::square(rows - c.prefix()).rows > 0 || NamedShapes::square(rows).rows == 0;
  if (told > 0 && (rows == told || rows == told + c.prefix()))
    c.pos_embed_prefix = rows != told || c.prefix() == 0;
  c.input.image_of(s, "vit", rows - (c.pos_embed_prefix ? c.prefix() : 0));
  assume_heads("vit", s, c.dim, c.heads);
  s.assume("norm_eps", c.norm_eps);
}

void vit_from_shapes(const NamedShapes& s, VitConfig& c) {
  from_shapes(s, c);
  require(!s.has("dist_token"), "vit", "a distillation token: DeiT has it");
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

VitConfig config_of(const Size& size, std::int64_t patch, std::int64_t image) {
  VitConfig c;
  c.input.img_size = {image, image};
  c.input.patch_size = {patch, patch};
  c.dim = size.dim;
  c.depth = size.depth;
  c.heads = size.heads;
  return c;
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

std::vector<Variant<VitConfig>> vit_variants() {
  std::vector<Variant<VitConfig>> out;
  const auto add = [&](const Size& size, std::int64_t patch, std::int64_t image) {
    out.push_back({fmt::format("vit_{}_patch{}_{}", size.name, patch, image), config_of(size, patch, image),
                   preprocess_of(image, image == 224 ? 0.9 : 1.0, 0, ResizeFilter::bicubic, true),
                   "ViT, Dosovitskiy et al. 2021; names and preprocessing of timm"});
    if (image == 224)
      out.back().aliases = {fmt::format("vit_{}_{}", size.name, patch),
                            fmt::format("vit_{}{}", size.initial, patch)};
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
      out.push_back({fmt::format("vit_{}_{}", size.initial, patch), config_of(size, patch, 224),
                     preprocess_of(224, 0.875, short_side, ResizeFilter::bilinear, false),
                     "ViT as trained by torchvision"});
      out.back().config.pos_resize = "bicubic_corners";
      out.back().naming = "torchvision";
    }
  return out;
}

std::vector<Variant<VitConfig>> deit_variants() {
  std::vector<Variant<VitConfig>> out;
  for (const Size& size : {kTiny, kSmall, kBase})
    for (const bool distilled : {false, true})
      for (const std::int64_t image : {224, 384}) {
        if (image == 384 && size.dim != kBase.dim) continue;
        const std::string middle = distilled ? "_distilled" : "";
        out.push_back({fmt::format("deit_{}{}_patch16_{}", size.name, middle, image),
                       config_of(size, 16, image),
                       preprocess_of(image, image == 224 ? 0.875 : 1.0, 0, ResizeFilter::bicubic, false),
                       distilled ? "DeiT with distillation token, Touvron et al. 2021; both heads averaged"
                                 : "DeiT, Touvron et al. 2021"});
        if (image == 224)
          out.back().aliases = {fmt::format("deit_{}{}", size.name, middle),
                                fmt::format("deit_{}{}", size.initial, middle)};
        if (!distilled) continue;
        out.back().config.prefix_tokens = {"cls_token", "dist_token"};
        out.back().config.pool = VitConfig::Pool::mean_two_heads;
      }
  return out;
}

/// Of 224 and 384 pixels where Meta released both.
std::vector<Variant<VitConfig>> deit3_variants() {
  struct Released {
    Size size;
    std::int64_t patch;
    bool large_pictures;
    double drop_path;  // of its training on ImageNet-1k
  };
  const Released all[] = {{kSmall, 16, true, 0.05},
                          {{"medium", "m", 512, 12, 8}, 16, false, 0.0},
                          {kBase, 16, true, 0.2},
                          {kLarge, 16, true, 0.45},
                          {kHuge, 14, false, 0.6}};
  std::vector<Variant<VitConfig>> out;
  for (const Released& one : all)
    for (const std::int64_t image : {224, 384}) {
      if (image == 384 && !one.large_pictures) continue;
      Variant<VitConfig>& v = out.emplace_back();
      v.name = fmt::format("deit3_{}_patch{}_{}", one.size.name, one.patch, image);
      v.config = config_of(one.size, one.patch, image);
      v.preprocess = preprocess_of(image, 1.0, 0, ResizeFilter::bicubic, false);
      v.note = "DeiT III, Touvron et al. 2022: LayerScale, no position for the class token";
      if (image == 224) v.aliases = {fmt::format("deit3_{}", one.size.name)};
      v.aliases.push_back(fmt::format("deit_3_{}_{}", one.size.name, image));  // Meta's files
      v.config.pos_embed_prefix = false;
      v.config.layer_scale = true;
      v.config.layer_scale_init = 1e-4f;
      v.config.drop_path = one.drop_path;
    }
  return out;
}

std::vector<Variant<VitConfig>> all_deit_variants() {
  std::vector<Variant<VitConfig>> out = deit_variants();
  for (Variant<VitConfig>& v : deit3_variants()) out.push_back(std::move(v));
  return out;
}

/// Of the layer behind the class token, which no answer here needs.
std::string pooler_width(const std::string&, const std::string& config) {
  return fmt::format(R"({{"pooler_output_size":{}}})", read_config<VitConfig>("vit", config).dim);
}

HubKeys hub_keys(const char* model_type, const char* defaults = R"({"layer_norm_eps":1e-12})") {
  return {.model_type = model_type,
          .keys = transformer_keys({{"intermediate_size", "mlp_hidden"},
                                    {"drop_path_rate", "drop_path"},
                                    {"hidden_act", "act"},
                                    {"qkv_bias", "qkv_bias"}}),
          .fixed = R"({"pos_resize":"bicubic"})",
          .defaults = defaults,
          .values = {{"qkv_bias", "true", R"("full")"}, {"qkv_bias", "false", R"("none")"}},
          .inert = {"decoder_*", "mask_ratio", "norm_pix_loss"}};
}

HubKeys written(HubKeys keys, const char* name, const char* has) {
  keys.written = {
      .name = name,
      .constants =
          R"({"hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,"initializer_range":0.02,)"
          R"("encoder_stride":16,"pooler_act":"tanh"})",
      .has = has,
      .lacks = {"drop_path_rate"},
      .more = pooler_width};
  return keys;
}
std::vector<HubKeys> vit_hub() {
  return {written(hub_keys("vit"), "ViT", "{}"), hub_keys("vit_mae"),
          hub_keys("vit_msn", R"({"layer_norm_eps":1e-6})"), hub_keys("ijepa")};
}
std::vector<HubKeys> deit_hub() {
  return {written(hub_keys("deit"), "DeiT", R"({"prefix_tokens":["cls_token","dist_token"]})")};
}

Renames timm_names() {
  Renames timm;
  timm.naming = "timm";
  return timm;
}

/// DeiT III's; DeiT's are timm's.
Renames meta_names() {
  Renames meta;
  meta.naming = "facebookresearch/deit";
  meta.rules = {{"blocks.{i}.ls1.gamma", "blocks.{i}.gamma_1"},
                {"blocks.{i}.ls2.gamma", "blocks.{i}.gamma_2"}};
  meta.of = {"layer_scale"};
  meta.overrides = {{"", R"({"pos_resize":"bicubic"})"}};
  return meta;
}

/// torchvision's VisionTransformer. Files before 0.13 have mlp.linear_1 and mlp.linear_2.
Renames torchvision_names() {
  Renames torchvision;
  torchvision.naming = "torchvision";
  torchvision.rules = {
      {"patch_embed.proj", "conv_proj"},
      {"cls_token", "class_token"},
      {"pos_embed", "encoder.pos_embedding"},
      {"blocks.{i}.norm1", "encoder.layers.encoder_layer_{i}.ln_1"},
      {"blocks.{i}.norm2", "encoder.layers.encoder_layer_{i}.ln_2"},
      {"blocks.{i}.attn.qkv.weight", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight"},
      {"blocks.{i}.attn.qkv.bias", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_bias"},
      {"blocks.{i}.attn.proj", "encoder.layers.encoder_layer_{i}.self_attention.out_proj"},
      {"blocks.{i}.attn", "encoder.layers.encoder_layer_{i}.self_attention", true},
      {"blocks.{i}.mlp.fc1", "encoder.layers.encoder_layer_{i}.mlp.0"},
      {"blocks.{i}.mlp.fc2", "encoder.layers.encoder_layer_{i}.mlp.3"},
      {"blocks.{i}", "encoder.layers.encoder_layer_{i}"},
      {"pos_drop", "encoder.dropout", true},
      {"norm", "encoder.ln"},
      {"head", "heads.head"},
  };
  torchvision.aliases = {
      {"encoder.layers.encoder_layer_{i}.mlp.linear_1", "encoder.layers.encoder_layer_{i}.mlp.0"},
      {"encoder.layers.encoder_layer_{i}.mlp.linear_2", "encoder.layers.encoder_layer_{i}.mlp.3"},
  };
  torchvision.overrides = {{"", R"({"pos_resize":"bicubic_corners"})"}};
  return torchvision;
}

/// Hugging Face, as on the hub, beside the spellings of transformers 5 (attention.q_proj, mlp.fc1).
Renames transformers_names() {
  Renames transformers;
  transformers.naming = "transformers";
  transformers.rules = {
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"},
      {"patch_embed", "embeddings.patch_embeddings", true},
      {"cls_token", "embeddings.cls_token"},
      {"dist_token", "embeddings.distillation_token"},
      {"pos_embed", "embeddings.position_embeddings"},
      {"pos_drop", "embeddings", true},
      {"blocks.{i}.norm1", "encoder.layer.{i}.layernorm_before"},
      {"blocks.{i}.norm2", "encoder.layer.{i}.layernorm_after"},
      {"blocks.{i}.attn.qkv",
       {"encoder.layer.{i}.attention.attention.query", "encoder.layer.{i}.attention.attention.key",
        "encoder.layer.{i}.attention.attention.value"}},
      {"blocks.{i}.attn.proj", "encoder.layer.{i}.attention.output.dense"},
      {"blocks.{i}.attn", "encoder.layer.{i}.attention", true},
      {"blocks.{i}.mlp.fc1", "encoder.layer.{i}.intermediate.dense"},
      {"blocks.{i}.mlp.fc2", "encoder.layer.{i}.output.dense"},
      {"blocks.{i}", "encoder.layer.{i}"},
      {"norm", "layernorm"},
  };
  transformers.aliases = {
      {"encoder.layer.{i}.attention.q_proj", "encoder.layer.{i}.attention.attention.query"},
      {"encoder.layer.{i}.attention.k_proj", "encoder.layer.{i}.attention.attention.key"},
      {"encoder.layer.{i}.attention.v_proj", "encoder.layer.{i}.attention.attention.value"},
      {"encoder.layer.{i}.attention.o_proj", "encoder.layer.{i}.attention.output.dense"},
      {"encoder.layer.{i}.mlp.fc1", "encoder.layer.{i}.intermediate.dense"},
      {"encoder.layer.{i}.mlp.fc2", "encoder.layer.{i}.output.dense"},
  };
  transformers.unused = {"pooler.*", "embeddings.mask_token"};
  transformers.overrides = {{"", R"({"norm_eps":1e-12,"pos_resize":"bicubic"})"}};
  return transformers;
}

std::vector<Renames> vit_renames() {
  Renames transformers = transformers_names();
  transformers.prefix = "vit.";
  transformers.rules.push_back({"head", "classifier"});
  transformers.preprocess = {{"", R"({"mode":"squash","filter":"bilinear"})"}};
  return {timm_names(), torchvision_names(), transformers};
}

std::vector<Renames> deit_renames() {
  Renames distilled = transformers_names();
  distilled.prefix = "deit.";
  distilled.rules.push_back({"head_dist", "distillation_classifier"});
  Renames plain =
      distilled;  // one head and no second one: DeiTForImageClassification, ViTForImageClassification
  plain.prefix = "deit.";
  distilled.rules.push_back({"head", "cls_classifier"});
  plain.rules.push_back({"head", "classifier"});
  return {timm_names(), meta_names(), torchvision_names(), distilled, plain};
}

}  // namespace
}  // namespace vit_model

const Family kVit = family<vit_model::Vit, vit_model::vit_variants, vit_model::vit_renames,
                           vit_model::vit_from_shapes, vit_model::vit_hub>("vit");
const Family kDeit = family<vit_model::Vit, vit_model::all_deit_variants, vit_model::deit_renames,
                            vit_model::from_shapes, vit_model::deit_hub>("deit");

}  // namespace locant
