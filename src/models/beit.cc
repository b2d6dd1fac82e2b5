// BEiT: Bao et al. 2022, "BEiT: BERT Pre-Training of Image Transformers", figure 1, and its code
// (fine-tuning: a bias table a block, LayerScale, the mean of the patches; pre-training: one table for all
// blocks). BEiT v2: Peng et al. 2022, the same network pre-trained on other targets. data2vec (vision):
// Baevski et al. 2022. Names: microsoft/unilm; timm's are the same.
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <optional>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/beit_bias.h"

namespace locant {
namespace beit_model {
namespace {

struct BeitConfig {
  enum class Table { none, per_block, shared };
  enum class Pool { cls, mean_patches };  // of normed tokens; the mean is normed itself, and no token
  PatchInput input = {};                  // img_size: what the tables are made for
  std::int64_t dim = 768, depth = 12, heads = 12;
  double mlp_ratio = 4.0;
  std::int64_t mlp_hidden = 0;  // 0: mlp_ratio * dim
  bool qkv_bias = true;         // of queries and values; keys have none
  float norm_eps = 1e-6f;       // Hugging Face: 1e-12
  Table bias_table = Table::per_block;
  BeitResize bias_resize = BeitResize::cubic;
  bool pos_embed = false;  // learned, beside the bias
  std::string pos_resize = "bicubic";
  bool layer_scale = true;
  float layer_scale_init = 0.1f;
  Pool pool = Pool::mean_patches;
  double drop_path = 0.0;  // of the last block; rises from 0

  std::int64_t hidden() const { return mlp_hidden > 0 ? mlp_hidden : scaled_width(dim, mlp_ratio); }
  Window window() const { return {input.grid().rows, input.grid().columns}; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("mlp_hidden", c.mlp_hidden);
  a.choice("qkv_bias", c.qkv_bias, {"none", "q_v"});
  a.field("norm_eps", c.norm_eps);
  a.choice("bias_table", c.bias_table, {"none", "per_block_with_cls", "shared_with_cls"});
  a.choice("bias_resize", c.bias_resize, {"geometric_cubic", "geometric_linear", "bilinear"});
  a.choice("pos_embed", c.pos_embed, {"none", "learned"});
  a.field("pos_resize", c.pos_resize);
  a.field("layer_scale", c.layer_scale);
  a.field("layer_scale_init", c.layer_scale_init);
  a.choice("pool", c.pool, {"cls", "mean_patches"});
  a.only("final_norm", c.pool == BeitConfig::Pool::cls ? "norm" : "fc_norm");
  a.field("drop_path", c.drop_path, rate());
  a.only("prefix_tokens", std::vector<std::string>{"cls_token"});
  a.only("act", "gelu");
}

void check(const std::string& op, const BeitConfig& c) {
  c.input.require_whole_patches(op);
  require(c.hidden() > 0, op, "mlp_ratio {} leaves dim {} no hidden channel", c.mlp_ratio, c.dim);
}

/// `relative_position_bias_table` of a grid, for itself and for others.
class BiasTable {
 public:
  BiasTable() = default;
  BiasTable(const Weights& w, const BeitConfig& c) : grid_(c.window()), rule_(c.bias_resize) {
    table_ = w.get(BeitBias::kTable, {beit_table_rows(grid_), c.heads}, Init::zeros(), {.decay = false});
  }
  bool defined() const { return rule_.has_value(); }
  AttentionTerm term(const Context& ctx, Window grid, const std::shared_ptr<const OffsetMap>& gather) const {
    return gather_term(resize_beit_bias(ctx, table_, grid_, grid, *rule_), gather);
  }

 private:
  Window grid_;
  std::optional<BeitResize> rule_;
  Var table_;
};

/// What the blocks of one call share.
struct Positions {
  Window grid;
  std::shared_ptr<const OffsetMap> gather;
  std::optional<AttentionTerm> shared = {};  ///< where there is one table for all
};

/// `q_bias`, `v_bias` (C), `relative_position_bias_table`, `qkv` (3 C, C; rows q, k, v), `proj`.
class BeitAttention {
 public:
  BeitAttention(const Weights& w, const BeitConfig& c, float proj_std) : heads_(c.heads) {
    if (c.qkv_bias) {
      q_bias_ = w.get("q_bias", {c.dim}, Init::zeros());
      v_bias_ = w.get("v_bias", {c.dim}, Init::zeros());
    }
    if (c.bias_table == BeitConfig::Table::per_block) table_ = BiasTable(w, c);
    qkv_ = Linear(w / "qkv", c.dim, 3 * c.dim, {.bias = false});
    proj_ = Linear(w / "proj", c.dim, c.dim, {.weight_init = Init::trunc_normal(proj_std)});
  }
  /// x (B, N, C) -> the same, plus skip where that is defined.
  Var operator()(const Context& ctx, const Var& x, const Positions& positions, const Var& skip) const {
    AttentionOptions options;
    options.heads = heads_;
    if (positions.shared) options.terms.push_back(*positions.shared);
    if (table_.defined()) options.terms.push_back(table_.term(ctx, positions.grid, positions.gather));
    Var qkv = qkv_(ctx, x);
    if (q_bias_.defined()) {
      const Var k_bias(Tensor::zeros(q_bias_.shape()));
      qkv = add(ctx, qkv, concat_axis(ctx, {q_bias_, k_bias, v_bias_}, 0));
    }
    return proj_(ctx, attention(ctx, qkv, options), Activation::none, skip);
  }

 private:
  std::int64_t heads_;
  Var q_bias_, v_bias_;
  BiasTable table_;
  Linear qkv_, proj_;
};

/// x + gamma_1 attention(norm1 x), then + gamma_2 mlp(norm2 x).
class Block {
 public:
  /// `number` counts from 1: what a branch gives back starts smaller the deeper it is.
  Block(const Weights& w, const BeitConfig& c, std::int64_t number, float drop_path)
      : norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        attention_(w / "attn", c, last_std(number)),
        fc1_(w / "mlp" / "fc1", c.dim, c.hidden()),
        fc2_(w / "mlp" / "fc2", c.hidden(), c.dim, {.weight_init = Init::trunc_normal(last_std(number))}) {
    const auto residual = [&](const char* gamma) {
      return Residual(drop_path,
                      c.layer_scale ? w.get(gamma, {c.dim}, Init::constant(c.layer_scale_init)) : Var());
    };
    residual1_ = residual("gamma_1");
    residual2_ = residual("gamma_2");
  }
  Var operator()(const Context& ctx, Var x, const Positions& positions) const {
    x = residual1_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), positions, skip); });
    return residual2_(ctx, x, [&](const Var& skip) {
      return fc2_(ctx, fc1_(ctx, norm2_(ctx, x), Activation::gelu), Activation::none, skip);
    });
  }

 private:
  static float last_std(std::int64_t number) { return 0.02f / std::sqrt(2.0f * static_cast<float>(number)); }

  LayerNorm norm1_, norm2_;
  BeitAttention attention_;
  Linear fc1_, fc2_;
  Residual residual1_, residual2_;
};

class Beit final : public ImageModelOf<BeitConfig> {
 public:
  Beit(const Family& family, BeitConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
    const BeitConfig& c = this->c();
    cls_.add(w, "cls_token", 1, c.dim, Init::trunc_normal(0.02f));
    if (c.pos_embed) position_ = PositionTable{c.input.grid(), 1, c.dim, c.pos_resize}(w);
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
    if (c.bias_table == BeitConfig::Table::shared) shared_ = BiasTable(w / "rel_pos_bias", c);
    const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
    for (std::int64_t i = 0; i < c.depth; ++i)
      blocks_.emplace_back(w / "blocks" / i, c, i + 1, rates[static_cast<std::size_t>(i)]);
    const bool mean = c.pool == BeitConfig::Pool::mean_patches;
    pool_ = FinalPool(w, {.width = c.dim, .eps = c.norm_eps, .mean = mean, .norms_mean = mean});
    head_ = Head(w / "head", c.dim, c.input.num_classes, {.weight_init = Init::trunc_normal(2e-5f)});
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, pool_(ctx, encode(ctx, images), cls_.size()));
  }
  Features features(const Context& ctx, const Var& images) const override {
    const Var x = encode(ctx, images);
    return {.levels = {c().input.level(op(), images, cls_.cut(ctx, x))}, .cls = pool_(ctx, x, cls_.size())};
  }

 private:
  /// [class | patches], normed where the head reads a token: (B, 1 + rows * columns, C).
  Var encode(const Context& ctx, const Var& images) const {
    const Grid grid = c().input.grid(op(), images);
    Var x = cls_.before(ctx, ctx.shown("patch_embed", patch_embed_(ctx, images)));
    if (c().pos_embed) x = position_.add_to(ctx, x, grid.rows, grid.columns);
    x = ctx.shown("pos_drop", x);
    Positions positions = {{grid.rows, grid.columns}, nullptr};
    if (c().bias_table != BeitConfig::Table::none) positions.gather = beit_gather(positions.grid);
    if (shared_.defined()) positions.shared = shared_.term(ctx, positions.grid, positions.gather);
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      x = ctx.shown("blocks", static_cast<std::int64_t>(i), blocks_[i](ctx, x, positions));
    return pool_.tokens(ctx, x);
  }

  Prefix cls_;
  LearnedAbsolute position_;
  PatchEmbed patch_embed_;
  BiasTable shared_;
  std::vector<Block> blocks_;
  FinalPool pool_;
  Head head_;
};

/// img_size becomes that of the grid of a bias table: the told one where it has so many rows, else a square.
void image_of_table(const NamedShapes& s, std::int64_t rows, PatchInput& input) {
  const Grid grid = input.grid();
  if (s.told("img_size") && beit_table_rows({grid.rows, grid.columns}) == rows) return;
  const Pair square = NamedShapes::square(rows - 3);  // 2 n - 1 displacements along a side of n
  require(square.rows % 2 == 1, "beit",
          "a table of {} rows is of no square grid, so that img_size must be told", rows);
  const std::int64_t side = (square.rows + 1) / 2;
  input.img_size = {side * input.patch_size.rows, side * input.patch_size.columns};
}

void from_shapes(const NamedShapes& s, BeitConfig& c) {
  using Table = BeitConfig::Table;
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  if (const std::int64_t wide = s.dim("blocks.0.mlp.fc1.weight", 0); wide != c.hidden()) c.mlp_hidden = wide;
  c.qkv_bias = s.has("blocks.0.attn.q_bias");
  c.layer_scale = s.has("blocks.0.gamma_1");
  c.pos_embed = s.has("pos_embed");
  c.pool = s.has("fc_norm.weight") ? BeitConfig::Pool::mean_patches : BeitConfig::Pool::cls;
  const std::string own = "blocks.0.attn.relative_position_bias_table",
                    shared = "rel_pos_bias.relative_position_bias_table";
  c.bias_table = s.has(own) ? Table::per_block : s.has(shared) ? Table::shared : Table::none;
  if (c.bias_table == Table::none) {
    require(c.qkv_bias, "beit", "neither a bias table nor q_bias: a plain ViT has neither");
    if (c.pos_embed)
      c.input.image_of(s, "beit", s.dim("pos_embed", 1) - 1);
    else
      s.assume("img_size", c.input.img_size);
    assume_heads("beit", s, c.dim, c.heads);
  } else {
    const std::string& table = c.bias_table == Table::shared ? shared : own;
    c.heads = s.dim(table, 1);
    image_of_table(s, s.dim(table, 0), c.input);
  }
  s.assume("norm_eps", c.norm_eps);
}

struct Size {
  const char* name;
  std::int64_t dim, depth, heads;
  double drop_path;
};
constexpr Size kBase = {"base", 768, 12, 12, 0.1}, kLarge = {"large", 1024, 24, 16, 0.2};

Variant<BeitConfig>& add(std::vector<Variant<BeitConfig>>& out, const Size& size, std::int64_t image) {
  Variant<BeitConfig>& v = out.emplace_back();
  v.config.input.img_size = {image, image};
  v.config.dim = size.dim;
  v.config.depth = size.depth;
  v.config.heads = size.heads;
  v.config.layer_scale_init = size.dim == kBase.dim ? 0.1f : 1e-5f;
  v.config.drop_path = size.drop_path;
  v.preprocess.rows = v.preprocess.columns = image;
  v.preprocess.crop_pct = image == 224 ? 0.9 : 1.0;
  v.preprocess.mean = v.preprocess.std = {0.5f, 0.5f, 0.5f};
  return v;
}

std::vector<Variant<BeitConfig>> variants() {
  std::vector<Variant<BeitConfig>> out;
  for (const auto& [size, images] :
       {std::pair<Size, std::vector<std::int64_t>>{kBase, {224, 384}}, {kLarge, {224, 384, 512}}})
    for (const std::int64_t image : images) {
      Variant<BeitConfig>& v = add(out, size, image);
      v.name = fmt::format("beit_{}_patch16_{}", size.name, image);
      v.note = "BEiT, Bao et al. 2022, fine-tuned; names and preprocessing of timm";
      if (image == 224) v.aliases = {fmt::format("beit_{}", size.name)};
    }
  for (const Size& size : {kBase, kLarge}) {
    Variant<BeitConfig>& v = add(out, size, 224);
    v.name = fmt::format("beitv2_{}_patch16_224", size.name);
    v.aliases = {fmt::format("beitv2_{}", size.name)};
    v.note = "BEiT v2, Peng et al. 2022, fine-tuned; BEiT's tensors, ImageNet's mean";
    v.config.layer_scale_init = 1e-5f;
    const Preprocess usual;
    v.preprocess.mean = usual.mean;
    v.preprocess.std = usual.std;
    if (size.dim == kLarge.dim) v.preprocess.crop_pct = 0.95;
  }
  for (const Size& size : {kBase, kLarge}) {
    Variant<BeitConfig>& v = add(out, size, 224);
    v.name = fmt::format("beit_{}_patch16_224_pt22k", size.name);
    v.note = "BEiT as pre-trained, without a head: one bias table for all blocks";
    v.config.input.num_classes = 0;
    v.config.bias_table = BeitConfig::Table::shared;
    v.config.pool = BeitConfig::Pool::cls;
    v.config.drop_path = 0.0;
  }
  return out;
}

/// 0 says that there is no LayerScale. Tables of grids that are no squares are not left as they are, or fail.
std::string scale_key(const std::string& target, const std::string& config) {
  const auto c = read_config<BeitConfig>("beit", config);
  const Grid grid = c.input.grid();
  require_told(
      c.bias_table == BeitConfig::Table::none || grid.rows == grid.columns ||
          c.bias_resize == BeitResize::bilinear,
      target,
      c.bias_resize == BeitResize::cubic ? "bias_resize geometric_cubic" : "bias_resize geometric_linear",
      fmt::format("it resizes the table of {} x {} patches with its sides exchanged", grid.rows,
                  grid.columns));
  require_told(
      !c.pos_embed || grid.rows == grid.columns, target,
      fmt::format("img_size [{},{}] with pos_embed learned", c.input.img_size.rows, c.input.img_size.columns),
      "its position table is of a square");
  constexpr float kUsual = 0.1f;
  ConfigWriter out;
  out.field("layer_scale_init_value", !c.layer_scale              ? 0.0f
                                      : c.layer_scale_init > 0.0f ? c.layer_scale_init
                                                                  : kUsual);
  return out.str();
}

HubKeys hub_keys(const char* model_type, const char* name) {
  return {.model_type = model_type,
          .keys = transformer_keys({{"intermediate_size", "mlp_hidden"},
                                    {"hidden_act", "act"},
                                    {"drop_path_rate", "drop_path"},
                                    {"use_relative_position_bias", "bias_table"},
                                    {"use_shared_relative_position_bias", "bias_table"},
                                    {"use_absolute_position_embeddings", "pos_embed"},
                                    {"layer_scale_init_value", "layer_scale_init"},
                                    {"use_mean_pooling", "pool"}}),
          .fixed = R"({"bias_resize":"bilinear","pos_resize":"bicubic"})",
          .defaults = R"({"layer_norm_eps":1e-12})",
          .values = {{"use_relative_position_bias", "true", R"("per_block_with_cls")"},
                     {"use_relative_position_bias", "false", "null"},
                     {"use_shared_relative_position_bias", "true", R"("shared_with_cls")"},
                     {"use_shared_relative_position_bias", "false", "null"},
                     {"use_absolute_position_embeddings", "true", R"("learned")"},
                     {"use_absolute_position_embeddings", "false", R"("none")"},
                     {"use_mean_pooling", "true", R"("mean_patches")"},
                     {"use_mean_pooling", "false", R"("cls")"}},
          .inert = {"vocab_size", "use_mask_token", "pool_scales", "use_auxiliary_head", "auxiliary_*",
                    "add_fpn", "semantic_loss_ignore_index", "segmentation_indices"},
          .written = {.name = name,
                      .constants = R"({"hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
                                   R"("initializer_range":0.02,"use_mask_token":false})",
                      .says = {"layer_scale"},
                      .more = scale_key}};
}

std::vector<HubKeys> hub() {
  return {hub_keys("beit", "Beit"), hub_keys("data2vec-vision", "Data2VecVision")};
}

/// Hugging Face, as on the hub.
Renames transformers_names(const char* prefix) {
  Renames out;
  out.naming = "transformers";
  out.prefix = prefix;
  out.rules = {
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"},
      {"patch_embed", "embeddings.patch_embeddings", true},
      {"cls_token", "embeddings.cls_token"},
      {"pos_embed", "embeddings.position_embeddings"},
      {"pos_drop", "embeddings", true},
      {"rel_pos_bias", "encoder.relative_position_bias"},
      {"blocks.{i}.gamma_1", "encoder.layer.{i}.lambda_1"},
      {"blocks.{i}.gamma_2", "encoder.layer.{i}.lambda_2"},
      {"blocks.{i}.norm1", "encoder.layer.{i}.layernorm_before"},
      {"blocks.{i}.norm2", "encoder.layer.{i}.layernorm_after"},
      {"blocks.{i}.attn.relative_position_bias_table",
       "encoder.layer.{i}.attention.attention.relative_position_bias.relative_position_bias_table"},
      {"blocks.{i}.attn.q_bias", "encoder.layer.{i}.attention.attention.query.bias"},
      {"blocks.{i}.attn.v_bias", "encoder.layer.{i}.attention.attention.value.bias"},
      {"blocks.{i}.attn.qkv",
       {"encoder.layer.{i}.attention.attention.query", "encoder.layer.{i}.attention.attention.key",
        "encoder.layer.{i}.attention.attention.value"}},
      {"blocks.{i}.attn.proj", "encoder.layer.{i}.attention.output.dense"},
      {"blocks.{i}.attn", "encoder.layer.{i}.attention", true},
      {"blocks.{i}.mlp.fc1", "encoder.layer.{i}.intermediate.dense"},
      {"blocks.{i}.mlp.fc2", "encoder.layer.{i}.output.dense"},
      {"blocks.{i}", "encoder.layer.{i}"},
      {"fc_norm", "pooler.layernorm"},
      {"norm", "layernorm"},
      {"head", "classifier"},
  };
  out.derived = {"*.relative_position_index"};
  out.unused = {"embeddings.mask_token", "lm_head.*"};
  out.overrides = {{"", R"({"norm_eps":1e-12,"bias_resize":"bilinear","pos_resize":"bicubic"})"}};
  out.preprocess = {{"", R"({"mode":"squash"})"}};
  return out;
}

std::vector<Renames> renames() {
  Renames unilm, timm;
  unilm.naming = "microsoft/unilm";
  unilm.derived = {"*.relative_position_index"};
  unilm.unused = {"mask_token", "lm_head.*", "cls_pt_*"};
  unilm.preprocess = {{"rows=224", R"({"crop_pct":0.875})"}};
  timm.naming = "timm";
  timm.derived = unilm.derived;
  timm.unused = unilm.unused;
  timm.overrides = {{"", R"({"bias_resize":"geometric_linear","pos_resize":"bicubic_antialias"})"}};
  return {unilm, timm, transformers_names("beit."), transformers_names("data2vec_vision.")};
}

}  // namespace
}  // namespace beit_model

const Family kBeit = family<beit_model::Beit, beit_model::variants, beit_model::renames,
                            beit_model::from_shapes, beit_model::hub>("beit");

}  // namespace locant
