// Attention-augmented ResNet: Bello et al. 2019, "Attention Augmented Convolutional Networks", section 4.2
// and equation 6; the 3x3 convolutions of the last three stages of ResNet (He et al. 2016) give some of their
// channels to attention of all places to all, with relative logits. Where a block halves the map the
// attention does by a mean over 3x3 behind it. There is no official code of the network. Names: torchvision's
// of the ResNet, leaderj1001/Attention-Augmented-Conv2d's of the layer, whose own form is qkv_kernel 0,
// `maps` reshaped and attention_stride projections. The paper's mean over 3x3 before the attention of 28 x 28
// places, which saved memory, is not built.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "models/family.h"
#include "models/resnet.h"
#include "nn/augmented_conv.h"

namespace locant {
namespace aa_resnet_model {
namespace {

struct AaResnetConfig : ResnetConfig {
  using Maps = AugmentedConv::Maps;
  using Stride = AugmentedConv::Stride;
  AaResnetConfig() {
    img_size = {224, 224};
    stem_chans = {64};
    stem_kernel = 7;
    depths = {3, 4, 6, 3};
    augment(1);
  }
  /// Every block from this stage on: keys a fifth of its width and at least 20 channels a head, values a
  /// tenth, in whole channels of every head.
  void augment(std::size_t first_stage) {
    attention_blocks.clear(), key_dims.clear(), value_dims.clear();
    for (std::size_t s = first_stage; s < depths.size(); ++s)
      for (std::int64_t b = 0; b < depths[s]; ++b) {
        attention_blocks.push_back({static_cast<std::int64_t>(s), b});
        const std::int64_t C = width(s);
        key_dims.push_back(std::max<std::int64_t>(20, (C + 5 * heads / 2) / (5 * heads)) * heads);
        value_dims.push_back(std::max<std::int64_t>(1, (C + 5 * heads) / (10 * heads)) * heads);
      }
  }
  std::int64_t heads = 8;
  std::vector<std::int64_t> key_dims, value_dims;  // of all heads, of each of attention_blocks
  std::int64_t qkv_kernel = 1;                     // 0: the convolution's
  bool relative = true;
  Maps maps = Maps::transposed;
  Stride attention_stride = Stride::mean_after;
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  resnet_fields(a, c);
  a.field("heads", c.heads, range(1, 256));
  a.field("key_dims", c.key_dims, at_least(1));
  a.field("value_dims", c.value_dims, at_least(1));
  a.field("qkv_kernel", c.qkv_kernel, range(0, 31));
  a.field("relative", c.relative);
  a.choice("maps", c.maps, {"reshaped", "transposed"});
  a.choice("attention_stride", c.attention_stride, {"projections", "mean_after"});
  a.only("attention", "augmented_conv");
  a.only("attention_strides", c.attention_strides());
}

void check(const std::string& op, const AaResnetConfig& c) {
  check_resnet(op, c);
  require(c.stem_chans.size() == 1, op, "{} stem_chans; one was expected: a convolution",
          c.stem_chans.size());
  same_length(op, {{"attention_blocks", c.attention_blocks.size()},
                   {"key_dims", c.key_dims.size()},
                   {"value_dims", c.value_dims.size()}});
}

/// `conv_out` beside `qkv_conv` and `attn_out`, `key_rel_h`, `key_rel_w` (nn/augmented_conv.h).
class AugmentedLayer {
 public:
  AugmentedLayer(const Weights& w, const AaResnetConfig& c, const Resnet::Place& place) {
    AugmentedConv::Options options;
    options.in = options.out = place.width;
    options.stride = place.stride;
    options.dk = c.key_dims[place.index];
    options.dv = c.value_dims[place.index];
    options.heads = c.heads;
    options.relative = c.relative;
    const std::int64_t shrunk = c.attention_stride == AugmentedConv::Stride::projections ? place.stride : 1;
    options.rows = (place.grid.rows + shrunk - 1) / shrunk;
    options.columns = (place.grid.columns + shrunk - 1) / shrunk;
    options.maps = c.maps;
    options.qkv_kernel = c.qkv_kernel;
    options.attention_stride = c.attention_stride;
    layer_ = AugmentedConv(w, options);
  }
  Var operator()(const Context& ctx, const Var& x) const { return layer_(ctx, x); }

 private:
  AugmentedConv layer_;
};

void from_shapes(const NamedShapes& s, AaResnetConfig& c) {
  resnet_from_shapes(s, kTorchvisionResnet, ".qkv_conv.weight", c);
  require(!c.attention_blocks.empty(), "aa_resnet", "no block has conv2.qkv_conv.weight");
  c.key_dims = c.value_dims = {};
  const auto layer = [&](const Pair& at) { return fmt::format("layer{}.{}.conv2", at.rows + 1, at.columns); };
  for (const Pair& at : c.attention_blocks) {
    c.value_dims.push_back(s.dim(layer(at) + ".attn_out.weight", 0));
    c.key_dims.push_back((s.dim(layer(at) + ".qkv_conv.weight", 0) - c.value_dims.back()) / 2);
  }
  const Pair first = c.attention_blocks[0];
  const std::int64_t kernel = s.dim(layer(first) + ".qkv_conv.weight", 2);
  if (kernel != 3 || c.qkv_kernel != 0) c.qkv_kernel = kernel;
  c.relative = s.has(layer(first) + ".key_rel_h");
  if (!s.told("maps")) {
    std::string maps = "transposed";
    s.assume("maps", maps);
  }
  if (!s.told("attention_stride")) {
    std::string stride = "mean_after";
    s.assume("attention_stride", stride);
  }
  if (!c.relative) {
    s.assume("heads", c.heads);
    s.assume("img_size", c.img_size);
    return;
  }
  const std::int64_t D = s.dim(layer(first) + ".key_rel_h", 1);
  c.heads = D > 0 ? c.key_dims[0] / D : 0;
  const Grid map{1, (s.dim(layer(first) + ".key_rel_h", 0) + 1) / 2,
                 (s.dim(layer(first) + ".key_rel_w", 0) + 1) / 2};
  // Projections that stride attend on the map that comes out of the block.
  const bool strided = c.attention_stride == AaResnetConfig::Stride::projections;
  resnet_image_of({first.rows, strided ? 1 : first.columns}, map, c);
}

std::vector<Variant<AaResnetConfig>> variants() {
  std::vector<Variant<AaResnetConfig>> out;
  for (const auto& [layers, depths] :
       {std::pair{50, std::vector<std::int64_t>{3, 4, 6, 3}}, {101, {3, 4, 23, 3}}, {152, {3, 8, 36, 3}}}) {
    Variant<AaResnetConfig>& v = out.emplace_back();
    v.name = fmt::format("aa_resnet{}", layers);
    v.config.depths = depths;
    v.config.augment(1);
    v.preprocess.crop_pct = 0.875;
    v.note = "ResNet with attention-augmented convolutions in its last three stages, Bello et al. 2019";
  }
  return out;
}

std::vector<Renames> renames() { return {Renames{}}; }

}  // namespace
}  // namespace aa_resnet_model

const Family kAaResnet =
    family<ResnetOf<aa_resnet_model::AaResnetConfig, aa_resnet_model::AugmentedLayer, kTorchvisionResnet>,
           aa_resnet_model::variants, aa_resnet_model::renames, aa_resnet_model::from_shapes>("aa_resnet");

}  // namespace locant
