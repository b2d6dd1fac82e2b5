// BoTNet: Srinivas et al. 2021, "Bottleneck Transformers for Visual Recognition", figure 1 (the block) and
// section 3.1, on the ResNets of timm ("-t": a stem of three convolutions; "s": SiLU), whose names these are.
// timm leaves the queries in the position terms unscaled, where the paper scales them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/family.h"
#include "models/resnet.h"
#include "nn/conv_layers.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/relative_logits.h"

namespace locant {
namespace botnet_model {
namespace {

constexpr std::int64_t kLargestSide = 4096;  // an index per pair of places on a side

struct BotnetConfig : ResnetConfig {
  BotnetConfig() { attention_blocks = {{2, 1}, {3, 0}, {3, 1}}; }
  std::vector<std::int64_t> heads = {4, 4, 4};           // of each of attention_blocks
  std::vector<std::int64_t> head_dims = {64, 128, 128};  // of queries and keys; values share the width
  bool scale_pos_embed = false;                          // queries in the position terms, as in q.k
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  resnet_fields(a, c);
  a.field("heads", c.heads, range(1, 256));
  a.field("head_dims", c.head_dims, range(1, 4096));
  a.field("scale_pos_embed", c.scale_pos_embed);
  a.only("attention", "bottleneck");
  a.only("attention_pool", "avg2_after");
  a.only("attention_strides", c.attention_strides());
}

void check(const std::string& op, const BotnetConfig& c) {
  check_resnet(op, c);
  same_length(op, {{"attention_blocks", c.attention_blocks.size()},
                   {"heads", c.heads.size()},
                   {"head_dims", c.head_dims.size()}});
}

/// Attention of all places of a map to all, with relative logits; a mean over 2x2 behind it where it halves
/// the map: `qkv` (2 H D + width, width, 1, 1; q, k, v, heads within each), `pos_embed.height_rel`,
/// `pos_embed.width_rel` (2 K - 1, D).
class BottleneckAttention {
 public:
  BottleneckAttention(const Weights& w, const BotnetConfig& c, const Resnet::Place& place)
      : width_(place.width), stride_(place.stride), grid_(place.grid) {
    options_.heads = c.heads[place.index];
    D_ = c.head_dims[place.index];
    require(width_ % options_.heads == 0, "botnet", "{} heads do not divide the {} channels of {}",
            options_.heads, width_, w.path());
    require(std::max(grid_.rows, grid_.columns) <= kLargestSide, "botnet",
            "pictures of {} x {} make a map of {} x {}; sides are at most {}", c.img_size.rows,
            c.img_size.columns, grid_.rows, grid_.columns, kLargestSide);
    require(grid_.rows % stride_ == 0 && grid_.columns % stride_ == 0, "botnet",
            "pictures of {} x {} make a map of {} x {} at {}, which halves; multiples of {} pixels fit",
            c.img_size.rows, c.img_size.columns, grid_.rows, grid_.columns, w.path(),
            c.stride_before(c.attention_blocks[place.index].rows, 1));
    const std::int64_t keys = options_.heads * D_;
    Conv2d::Options plain = Conv2d::square(1, 1, 0, 1, false);
    plain.weight_init = Init::trunc_normal(1.0f / std::sqrt(static_cast<float>(width_)));
    qkv_ = Conv2d(w / "qkv", width_, 2 * keys + width_, plain);
    const Init init = Init::trunc_normal(1.0f / std::sqrt(static_cast<float>(D_)));
    tables_.rows = (w / "pos_embed").get("height_rel", {2 * grid_.rows - 1, D_}, init);
    tables_.columns = (w / "pos_embed").get("width_rel", {2 * grid_.columns - 1, D_}, init);
    tables_.scaled = c.scale_pos_embed;
    options_.scale = 1.0f / std::sqrt(static_cast<float>(D_));
    if (w.mode() != WeightMode::shapes) indices_ = relative_logits_indices(grid_);
  }
  /// images (B, width, H, W) -> (B, width, H / stride, W / stride)
  Var operator()(const Context& ctx, const Var& x) const {
    require(
        x.dim(2) == grid_.rows && x.dim(3) == grid_.columns, "botnet",
        "a map of {} x {}, where tables are made for {} x {}: pictures of the configuration's img_size are "
        "needed",
        x.dim(2), x.dim(3), grid_.rows, grid_.columns);
    const Var qkv = images_to_tokens(ctx, qkv_(ctx, x));  // (B, N, 2 H D + width)
    const std::int64_t keys = options_.heads * D_;
    const Var q = slice_axis(ctx, qkv, 2, 0, keys), k = slice_axis(ctx, qkv, 2, keys, 2 * keys);
    const Var v = slice_axis(ctx, qkv, 2, 2 * keys, 2 * keys + width_);
    AttentionOptions options = options_;
    options.terms = {relative_logits_term(ctx, tables_, q, options.heads, *options.scale, indices_)};
    const Var y = tokens_to_images(ctx, attention(ctx, q, k, v, options), grid_.rows, grid_.columns);
    return stride_ == 1 ? y : halve(ctx, "botnet", y);
  }

 private:
  std::int64_t width_, stride_, D_ = 0;
  Grid grid_;
  AttentionOptions options_;
  Conv2d qkv_;
  RelativeLogits tables_;
  AxisIndices indices_;
};

void from_shapes(const NamedShapes& s, BotnetConfig& c) {
  resnet_from_shapes(s, kTimmResnet, ".qkv.weight", c);
  require(!c.attention_blocks.empty(), "botnet", "no block has self_attn.qkv.weight");
  c.heads = c.head_dims = {};
  for (const Pair& at : c.attention_blocks) {
    const std::string attention = fmt::format("stages.{}.{}.self_attn", at.rows, at.columns);
    const std::int64_t D = s.dim(attention + ".pos_embed.height_rel", 1);
    const std::int64_t keys = (s.dim(attention + ".qkv.weight", 0) - s.dim(attention + ".qkv.weight", 1)) / 2;
    c.head_dims.push_back(D);
    c.heads.push_back(D > 0 ? keys / D : 0);
  }
  const Pair first = c.attention_blocks[0];
  const std::string tables = fmt::format("stages.{}.{}.self_attn.pos_embed", first.rows, first.columns);
  resnet_image_of(
      first, {1, (s.dim(tables + ".height_rel", 0) + 1) / 2, (s.dim(tables + ".width_rel", 0) + 1) / 2}, c);
  s.assume("scale_pos_embed", c.scale_pos_embed);
}

std::vector<Variant<BotnetConfig>> variants() {
  std::vector<Variant<BotnetConfig>> out;
  const auto add = [&](const char* name, const char* note) -> Variant<BotnetConfig>& {
    Variant<BotnetConfig>& v = out.emplace_back();
    v.name = name;
    v.preprocess = {.rows = 256, .columns = 256, .crop_pct = 0.95};
    v.note = note;
    return v;
  };
  add("botnet26t_256", "BoTNet, Srinivas et al. 2021, on ResNet-26-T: attention in the last three blocks");
  BotnetConfig& bot50 =
      add("botnet50ts_256", "BoTNet on ResNet-50-TS: attention in every second block").config;
  bot50.depths = {3, 4, 6, 3};
  bot50.attention_blocks = {{1, 3}, {2, 1}, {2, 3}, {2, 5}, {3, 1}};
  bot50.heads = {4, 4, 4, 4, 4};
  bot50.head_dims = {32, 64, 64, 64, 128};
  bot50.act = ResnetConfig::Act::silu;
  BotnetConfig& eca =
      add("eca_botnext26ts_256", "BoTNet on ResNeXt-26-TS, ECA behind grouped convolutions").config;
  eca.group_size = 16;
  eca.head_dims = {16, 16, 16};
  eca.act = ResnetConfig::Act::silu;
  eca.gate = ResnetConfig::Gate::eca;
  Variant<BotnetConfig>& v33 =
      add("sebotnet33ts_256", "BoTNet on ResNet-33-TS, squeeze-and-excitation behind convolutions");
  v33.preprocess.crop_pct = 0.94;
  BotnetConfig& se = v33.config;
  se.stem_pool = ResnetConfig::StemPool::none;
  se.dims = {256, 512, 1024, 1536};
  se.depths = {2, 3, 3, 2};
  se.widths = {64, 128, 256, 512};
  se.attention_blocks = {{1, 2}, {2, 2}, {3, 0}, {3, 1}};
  se.heads = {4, 4, 4, 4};
  se.head_dims = {32, 64, 128, 128};
  se.act = ResnetConfig::Act::silu;
  se.gate = ResnetConfig::Gate::squeeze_excite;
  se.num_features = 1280;
  return out;
}

std::vector<Renames> renames() { return same_names({"timm"}); }

}  // namespace
}  // namespace botnet_model

const Family kBotnet =
    family<ResnetOf<botnet_model::BotnetConfig, botnet_model::BottleneckAttention, kTimmResnet>,
           botnet_model::variants, botnet_model::renames, botnet_model::from_shapes>("botnet");

}  // namespace locant
