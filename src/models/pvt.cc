// PVT: Wang et al. 2021, "Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without
// Convolutions", figures 3 (the whole) and 4 (spatial-reduction attention). Names: whai362/PVT. Every stage
// has a position table of its own; the class token enters at the last stage. As a backbone of detectors it
// has neither that token, nor the last norm, nor a head.
#include "models/family.h"
#include "models/pvt_pyramid.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/learned_absolute.h"

namespace locant {
namespace pvt_model {
namespace {

struct PvtConfig : PvtStages {
  /// logits: of the class token. maps: the tokens of every stage. last_map: of the last one (F4).
  enum class Output { logits, maps, last_map };
  Output output = Output::logits;
  std::string pos_resize = "bilinear";
  PvtConfig() { depths = {2, 2, 2, 2}; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  pvt_stage_fields(a, c);
  a.choice("output", c.output, {"logits", "maps", "last_map"});
  a.field("pos_resize", c.pos_resize);
  a.only("pool", "cls");
  a.only("pos_embed", "learned");
  std::vector<bool> last(c.stages(), false);
  if (!last.empty()) last.back() = true;
  a.only("cls_token", last);
}

void check(const std::string& op, const PvtConfig& c) {
  check_pvt_stages(op, c);
  if (c.output == PvtConfig::Output::logits)
    require(c.sr_ratios.back() == 1, op,
            "the last stage reduces by {}; its class token is no part of a picture, so that it must be 1",
            c.sr_ratios.back());
  else
    require(c.num_classes == 0, op,
            "{} classes, but maps have no head; output logits or num_classes 0 is needed", c.num_classes);
}

class Pvt final : public ImageModelOf<PvtConfig> {
 public:
  Pvt(const Family& family, PvtConfig config, const Weights& w);
  std::vector<Port> outputs() const override;
  /// Logits, or the first of the maps that outputs() lists.
  Var forward(const Context& ctx, const Var& images) const override {
    return compute(ctx, {{"images", images}}).front();
  }
  Features features(const Context& ctx, const Var& images) const override;

 protected:
  Values compute(const Context& ctx, const Values& in) const override;

 private:
  using Level = Features::Level;
  using Block = PvtBlock<SpatialReductionAttention>;
  struct Stage {
    Grid grid;  // of the table
    PatchEmbed patches;
    LayerNorm patch_norm;
    LearnedAbsolute position;
    std::vector<Block> blocks;
  };
  bool classifies() const { return c().output == Config::Output::logits; }
  /// Tokens of each stage, finest first; those of the last with the class token before them, and normed,
  /// where there is one.
  std::vector<Level> encode(const Context& ctx, const Var& images) const;
  Var add_position(const Context& ctx, std::size_t stage, const Var& x, Grid grid) const;

  std::vector<Stage> stages_;
  Prefix cls_;
  LayerNorm norm_;
  Head head_;
};

Pvt::Pvt(const Family& family, PvtConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
  const PvtConfig& c = this->c();
  const std::vector<Grid> grids = c.grids(op(), c.img_size);
  const std::vector<float> rates = drop_rates(c.total_depth(), c.drop_path);
  auto drop_path = rates.begin();
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const auto name = [&](const char* what) { return fmt::format("{}{}", what, s + 1); };
    const std::int64_t patch = c.patch_sizes[s], prefix = s + 1 == c.stages() ? 1 : 0;
    const std::string table = name("pos_embed");
    Stage& stage = stages_.emplace_back();
    stage.grid = grids[s];
    stage.patches = PatchEmbed(w / name("patch_embed") / "proj", c.chans(s), patch, patch, c.dims[s]);
    stage.patch_norm = LayerNorm(w / name("patch_embed") / "norm", c.dims[s], c.patch_norm_eps);
    stage.position = PositionTable{grids[s], prefix, c.dims[s], c.pos_resize, table, true}(w);
    const Weights blocks = w / name("block");
    for (std::int64_t b = 0; b < c.depths[s]; ++b)
      stage.blocks.emplace_back(blocks / b, c, s,
                                SpatialReductionAttention(blocks / b / "attn", c.attention(s)), *drop_path++);
  }
  if (!classifies()) return;
  cls_.add(w, "cls_token", 1, c.dims.back(), Init::trunc_normal(0.02f));
  norm_ = LayerNorm(w / "norm", c.dims.back(), c.norm_eps);
  head_ = Head(w / "head", c.dims.back(), c.num_classes);
}

std::vector<Port> Pvt::outputs() const {
  if (classifies()) return ImageModelOf::outputs();
  std::vector<Port> out;
  for (std::size_t s = c().output == Config::Output::maps ? 0 : c().stages() - 1; s < c().stages(); ++s)
    out.push_back({fmt::format("map{}", s + 1), "B C H W", fmt::format("tokens of stage {}", s + 1)});
  return out;
}

Values Pvt::compute(const Context& ctx, const Values& in) const {
  const std::vector<Level> levels = encode(ctx, in.at("images"));
  if (classifies()) return {{"output", head_(ctx, Prefix::token(ctx, levels.back().tokens, 0))}};
  Values out;
  for (const Port& port : outputs()) {
    const Level& level = levels[levels.size() - outputs().size() + out.size()];
    out.set(port.name, tokens_to_images(ctx, level.tokens, level.grid.rows, level.grid.columns));
  }
  return out;
}

Features Pvt::features(const Context& ctx, const Var& images) const {
  Features out{.levels = encode(ctx, images)};
  Var& last = out.levels.back().tokens;
  out.cls = classifies() ? Prefix::token(ctx, last, 0) : mean_pool(ctx, last);
  last = cls_.cut(ctx, last);
  return out;
}

std::vector<Features::Level> Pvt::encode(const Context& ctx, const Var& images) const {
  const std::vector<Grid> grids = c().grids(op(), images);
  std::vector<Level> out;
  Var x = images;
  std::int64_t stride = 1;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = stages_[s];
    if (s > 0) x = tokens_to_images(ctx, x, grids[s - 1].rows, grids[s - 1].columns);
    x = stage.patch_norm(ctx, stage.patches(ctx, x));
    ctx.show([&] { return fmt::format("patch_embed{}", s + 1); }, x);
    if (s + 1 == stages_.size()) x = cls_.before(ctx, x);
    x = add_position(ctx, s, x, grids[s]);
    for (std::size_t b = 0; b < stage.blocks.size(); ++b) {
      x = stage.blocks[b](ctx, x, grids[s]);
      ctx.show([&] { return fmt::format("block{}.{}", s + 1, b); }, x);
    }
    stride *= c().patch_sizes[s];
    out.push_back({x, grids[s], stride});
  }
  if (classifies()) out.back().tokens = ctx.shown("norm", norm_(ctx, x));
  return out;
}

/// The official code compares numbers of tokens, and those of stage 1: a picture of another shape with as
/// many keeps that stage's table as it lies.
Var Pvt::add_position(const Context& ctx, std::size_t stage, const Var& x, Grid grid) const {
  const Stage& s = stages_[stage];
  if (stage == 0 && grid.tokens() == s.grid.tokens()) grid = s.grid;
  if (stage + 1 < stages_.size() || classifies()) return s.position.add_to(ctx, x, grid.rows, grid.columns);
  const Var table = s.position.table(ctx, grid.rows, grid.columns);  // its first row is the class token's
  const Var own = select_rows(ctx, table, 1, table.dim(1));
  return add(ctx, x, reshape(ctx, own, {own.dim(1), own.dim(2)}));
}

void from_shapes(const NamedShapes& s, PvtConfig& c) {
  c.PvtStages::from_shapes(
      s, [](std::size_t stage) { return fmt::format("patch_embed{}", stage + 1); },
      [](std::size_t stage) { return fmt::format("block{}", stage + 1); }, 0);
  c.assume_heads("pvt", s, 64);
  if (!s.told("output")) c.output = s.has("cls_token") ? PvtConfig::Output::logits : PvtConfig::Output::maps;
  const bool alone = c.stages() == 1;  // the table of the last stage has a row for the class token
  PatchInput input = {.img_size = c.img_size, .patch_size = {c.patch_sizes[0], c.patch_sizes[0]}};
  input.image_of(s, "pvt", s.dim("pos_embed1", 1) - (alone ? 1 : 0));
  c.img_size = input.img_size;
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<PvtConfig>> variants() {
  struct Size {
    const char* name;
    std::vector<std::int64_t> depths;
    double drop_path, detection_drop_path;
  };
  std::vector<Variant<PvtConfig>> out;
  for (const Size& size : {Size{"tiny", {2, 2, 2, 2}, 0.1, 0.1}, Size{"small", {3, 4, 6, 3}, 0.1, 0.1},
                           Size{"medium", {3, 4, 18, 3}, 0.1, 0.0}, Size{"large", {3, 8, 27, 3}, 0.3, 0.0}})
    for (const bool detection : {false, true}) {
      Variant<PvtConfig>& v = out.emplace_back();
      v.name = fmt::format("pvt_{}{}", size.name, detection ? "_detection" : "");
      v.config.depths = size.depths;
      v.config.drop_path = detection ? size.detection_drop_path : size.drop_path;
      v.preprocess.crop_pct = 0.875;
      v.note = "PVT, Wang et al. 2021: a pyramid with spatial-reduction attention";
      if (!detection) continue;
      v.config.num_classes = 0;
      v.config.output = PvtConfig::Output::maps;
      v.note = "PVT as a backbone of detectors: maps of four stages; output last_map is the F4 form";
    }
  return out;
}

/// Its class has one epsilon for all norms.
constexpr const char* kTransformersEps = R"({"patch_norm_eps":1e-6,"sr_norm_eps":1e-6})";

/// Its class counts on four stages and on patches that halve the map, whatever patch_sizes says.
std::string stage_keys(const std::string& target, const std::string& config) {
  const auto c = read_config<PvtConfig>("pvt", config);
  require_told(c.stages() == 4, target, fmt::format("depths [{}]", fmt::join(c.depths, ",")),
               "it has four stages");
  require_told(c.patch_sizes == std::vector<std::int64_t>{4, 2, 2, 2}, target,
               fmt::format("patch_sizes [{}]", fmt::join(c.patch_sizes, ",")),
               "its position tables are those of [4,2,2,2]");
  require_told(c.img_size.rows == c.img_size.columns, target,
               fmt::format("img_size [{},{}]", c.img_size.rows, c.img_size.columns),
               "its pictures are square");
  return fmt::format(R"({{"num_encoder_blocks":4,"strides":[{}]}})", fmt::join(c.patch_sizes, ","));
}

std::vector<HubKeys> hub() {
  return {{.model_type = "pvt",
           .keys = {{"image_size", "img_size"},
                    {"num_channels", "in_chans"},
                    {"patch_sizes", "patch_sizes"},
                    {"hidden_sizes", "dims"},
                    {"depths", "depths"},
                    {"num_attention_heads", "heads"},
                    {"mlp_ratios", "mlp_ratios"},
                    {"sequence_reduction_ratios", "sr_ratios"},
                    {"qkv_bias", "qkv_bias"},
                    {"hidden_act", "act"},
                    {"layer_norm_eps", "norm_eps"},
                    {"layer_norm_eps", "patch_norm_eps"},
                    {"layer_norm_eps", "sr_norm_eps"},
                    {"drop_path_rate", "drop_path"}},
           .defaults = R"({"layer_norm_eps":1e-6})",
           .values = {{"qkv_bias", "true", R"("full")"}, {"qkv_bias", "false", R"("none")"}},
           .inert = {"num_encoder_blocks", "strides"},  // strides: the kernels, which the tensors tell
           .written = {.name = "Pvt",
                       .constants = R"({"hidden_dropout_prob":0.0,"attention_probs_dropout_prob":0.0,)"
                                    R"("initializer_range":0.02})",
                       .whole = {"mlp_ratios"},
                       .more = stage_keys}}};
}

std::vector<Renames> renames() {
  std::vector<Renames> out = same_names({"whai362/PVT", "transformers"});
  Renames& transformers = out[1];
  transformers.prefix = "pvt.";
  transformers.rules = {
      {"patch_embed{s+1}.proj", "encoder.patch_embeddings.{s}.projection"},
      {"patch_embed{s+1}.norm", "encoder.patch_embeddings.{s}.layer_norm"},
      {"patch_embed{s+1}", "encoder.patch_embeddings.{s}", true},
      {"pos_embed{s+1}", "encoder.patch_embeddings.{s}.position_embeddings"},
      {"cls_token", "encoder.patch_embeddings.3.cls_token"},
      {"block{s+1}.{b}.norm1", "encoder.block.{s}.{b}.layer_norm_1"},
      {"block{s+1}.{b}.attn.q", "encoder.block.{s}.{b}.attention.self.query"},
      {"block{s+1}.{b}.attn.kv",
       {"encoder.block.{s}.{b}.attention.self.key", "encoder.block.{s}.{b}.attention.self.value"}},
      {"block{s+1}.{b}.attn.sr", "encoder.block.{s}.{b}.attention.self.sequence_reduction"},
      {"block{s+1}.{b}.attn.norm", "encoder.block.{s}.{b}.attention.self.layer_norm"},
      {"block{s+1}.{b}.attn.proj", "encoder.block.{s}.{b}.attention.output.dense"},
      {"block{s+1}.{b}.attn", "encoder.block.{s}.{b}.attention", true},
      {"block{s+1}.{b}.norm2", "encoder.block.{s}.{b}.layer_norm_2"},
      {"block{s+1}.{b}.mlp.fc1", "encoder.block.{s}.{b}.mlp.dense1"},
      {"block{s+1}.{b}.mlp.fc2", "encoder.block.{s}.{b}.mlp.dense2"},
      {"block{s+1}.{b}", "encoder.block.{s}.{b}"},
      {"norm", "encoder.layer_norm"},
      {"head", "classifier"}};
  transformers.overrides = {{"", kTransformersEps}};
  transformers.preprocess = {{"", R"({"mode":"squash"})"}};
  return out;
}

}  // namespace
}  // namespace pvt_model

const Family kPvt =
    family<pvt_model::Pvt, pvt_model::variants, pvt_model::renames, pvt_model::from_shapes, pvt_model::hub>(
        "pvt");

}  // namespace locant
