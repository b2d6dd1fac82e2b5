// HaloNet: Vaswani et al. 2021, "Scaling Local Self-Attention for Parameter Efficient Visual Backbones",
// figure 1 (blocked local attention) and section 2.2, on the ResNets of timm ("-t": a stem of three
// convolutions; "s": SiLU), whose names these are. timm leaves the queries in the position terms unscaled.
// Keys and values outside the map are zeros that take part in the softmax; a map that blocks do not divide
// counts as one with zeros at the right and bottom (timm refuses it).
#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "models/family.h"
#include "models/resnet.h"
#include "nn/conv_layers.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/relative_logits.h"

namespace locant {
namespace halonet_model {
namespace {

struct HalonetConfig : ResnetConfig {
  HalonetConfig() { attention_blocks = {{2, 1}, {3, 0}, {3, 1}}; }
  std::vector<std::int64_t> heads = {8, 8, 8};         // of each of attention_blocks
  std::vector<std::int64_t> head_dims = {32, 64, 64};  // of queries and keys; values share the width
  std::int64_t block_size = 8, halo = 2;  // queries of a block along a side, and what they see more
  bool scale_pos_embed = false;           // queries in the position terms, as in q.k

  std::int64_t window() const { return block_size + 2 * halo; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  resnet_fields(a, c);
  a.field("heads", c.heads, range(1, 256));
  a.field("head_dims", c.head_dims, range(1, 4096));
  a.field("block_size", c.block_size, range(1, 256));
  a.field("halo", c.halo, range(0, 256));
  a.field("scale_pos_embed", c.scale_pos_embed);
  a.only("window", Pair{c.window(), c.window()});
  a.only("attention", "halo");
  a.only("attention_pool", "query_stride");
  a.only("attention_strides", c.attention_strides());
}

void check(const std::string& op, const HalonetConfig& c) {
  check_resnet(op, c);
  same_length(op, {{"attention_blocks", c.attention_blocks.size()},
                   {"heads", c.heads.size()},
                   {"head_dims", c.head_dims.size()}});
  for (const std::int64_t stride : c.attention_strides())
    require(c.block_size % stride == 0, op, "blocks of {} do not divide by a block's stride of {}",
            c.block_size, stride);
}

/// Attention of the queries of a block to what lies around it, with relative logits: `q` (H D, width, 1, 1),
/// of every stride-th place, `kv` (H D + width, width, 1, 1; by head, its keys, then its values),
/// `pos_embed.height_rel`, `pos_embed.width_rel` (2 window - 1, D).
class HaloAttention {
 public:
  HaloAttention(const Weights& w, const HalonetConfig& c, const Resnet::Place& place)
      : stride_(place.stride), block_(c.block_size), halo_(c.halo) {
    const std::int64_t H = c.heads[place.index], width = place.width;
    D_ = c.head_dims[place.index];
    require(width % H == 0, "halonet", "{} heads do not divide the {} channels of {}", H, width, w.path());
    Dv_ = width / H;
    Conv2d::Options plain = Conv2d::square(1, 1, 0, 1, false);
    plain.weight_init = Init::trunc_normal(1.0f / std::sqrt(static_cast<float>(width)));
    kv_ = Conv2d(w / "kv", width, H * D_ + width, plain);
    plain.conv.stride_rows = plain.conv.stride_columns = stride_;
    q_ = Conv2d(w / "q", width, H * D_, plain);
    options_.heads = H;
    options_.scale = 1.0f / std::sqrt(static_cast<float>(D_));
    options_.zero_pad = true;
    const Init init = Init::trunc_normal(*options_.scale);
    tables_.rows = (w / "pos_embed").get("height_rel", {2 * c.window() - 1, D_}, init);
    tables_.columns = (w / "pos_embed").get("width_rel", {2 * c.window() - 1, D_}, init);
    tables_.scaled = c.scale_pos_embed;
  }
  /// images (B, width, H, W) -> (B, width, H / stride, W / stride), rounded up
  Var operator()(const Context& ctx, const Var& x) const {
    const std::int64_t B = x.dim(0), N = x.dim(2) * x.dim(3), H = options_.heads;
    const Var queries = q_(ctx, x), q = images_to_tokens(ctx, queries);
    const Var kv = reshape(ctx, images_to_tokens(ctx, kv_(ctx, x)), {B, N, H, D_ + Dv_});
    const Var k = reshape(ctx, slice_axis(ctx, kv, 3, 0, D_), {B, N, H * D_});
    const Var v = reshape(ctx, slice_axis(ctx, kv, 3, D_, D_ + Dv_), {B, N, H * Dv_});
    AttentionOptions options = options_;
    options.rows = halo_rows({1, x.dim(2), x.dim(3)}, block_, halo_, stride_);
    options.terms = {relative_logits_term(ctx, tables_, q, H, *options.scale,
                                          halo_indices(*options.rows, q.dim(1), block_, halo_, stride_))};
    return tokens_to_images(ctx, attention(ctx, q, k, v, options), queries.dim(2), queries.dim(3));
  }

 private:
  std::int64_t stride_, block_, halo_, D_ = 0, Dv_ = 0;
  AttentionOptions options_;
  Conv2d q_, kv_;
  RelativeLogits tables_;
};

void from_shapes(const NamedShapes& s, HalonetConfig& c) {
  resnet_from_shapes(s, kTimmResnet, ".kv.weight", c);
  require(!c.attention_blocks.empty(), "halonet", "no block has self_attn.kv.weight");
  c.heads = c.head_dims = {};
  std::int64_t window = 0;
  for (const Pair& at : c.attention_blocks) {
    const std::string attention = fmt::format("stages.{}.{}.self_attn", at.rows, at.columns);
    const std::int64_t D = s.dim(attention + ".pos_embed.height_rel", 1);
    c.head_dims.push_back(D);
    c.heads.push_back(D > 0 ? s.dim(attention + ".q.weight", 0) / D : 0);
    window = (s.dim(attention + ".pos_embed.height_rel", 0) + 1) / 2;
  }
  // The tables tell the window alone: blocks of 8 in it, or the most that leave the same on both sides.
  const bool fits = window >= c.block_size && (window - c.block_size) % 2 == 0;
  const std::int64_t usual = window < 8 ? window : 8 - window % 2;
  s.assume("block_size", c.block_size, usual, fits);
  s.assume("halo", c.halo, (window - c.block_size) / 2, c.window() == window);
  s.assume("img_size", c.img_size);
  s.assume("scale_pos_embed", c.scale_pos_embed);
}

std::vector<Variant<HalonetConfig>> variants() {
  std::vector<Variant<HalonetConfig>> out;
  const auto add = [&](const char* name, double crop_pct, const char* note) -> HalonetConfig& {
    Variant<HalonetConfig>& v = out.emplace_back();
    v.name = name;
    v.preprocess = {.rows = 256, .columns = 256, .crop_pct = crop_pct};
    v.note = note;
    return v.config;
  };
  add("halonet26t", 0.95, "HaloNet, Vaswani et al. 2021, on ResNet-26-T: attention in the last three blocks");
  HalonetConfig& halo50 =
      add("halonet50ts", 0.94, "HaloNet on ResNet-50-TS: attention in every second block");
  halo50.depths = {3, 4, 6, 3};
  halo50.attention_blocks = {{1, 3}, {2, 1}, {2, 3}, {2, 5}, {3, 1}};
  halo50.heads = {4, 8, 8, 8, 8};
  halo50.head_dims = {32, 32, 32, 32, 64};
  halo50.halo = 3;
  halo50.act = ResnetConfig::Act::silu;
  HalonetConfig& eca =
      add("eca_halonext26ts", 0.94, "HaloNet on ResNeXt-26-TS, ECA behind grouped convolutions");
  eca.group_size = 16;
  eca.head_dims = {16, 16, 16};
  eca.act = ResnetConfig::Act::silu;
  eca.gate = ResnetConfig::Gate::eca;
  HalonetConfig& se =
      add("sehalonet33ts", 0.94, "HaloNet on ResNet-33-TS, squeeze-and-excitation behind convolutions");
  se.stem_pool = ResnetConfig::StemPool::none;
  se.dims = {256, 512, 1024, 1536};
  se.depths = {2, 3, 3, 2};
  se.widths = {64, 128, 256, 512};
  se.attention_blocks = {{1, 2}, {2, 2}, {3, 0}, {3, 1}};
  se.heads = {8, 8, 8, 8};
  se.head_dims = {16, 32, 64, 64};
  se.halo = 3;
  se.act = ResnetConfig::Act::silu;
  se.gate = ResnetConfig::Gate::squeeze_excite;
  se.num_features = 1280;
  return out;
}

std::vector<Renames> renames() { return same_names({"timm"}); }

}  // namespace
}  // namespace halonet_model

const Family kHalonet =
    family<ResnetOf<halonet_model::HalonetConfig, halonet_model::HaloAttention, kTimmResnet>,
           halonet_model::variants, halonet_model::renames, halonet_model::from_shapes>("halonet");

}  // namespace locant
