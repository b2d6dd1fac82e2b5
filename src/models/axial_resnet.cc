// Axial-ResNet, the classification network of Axial-DeepLab: Wang et al. 2020, "Axial-DeepLab: Stand-Alone
// Axial-Attention for Panoptic Segmentation", section 3.3, figure 2 (the block) and table 2. Names:
// csrhddlam/axial-deeplab ("hight" is its spelling). Each table is made for lines of one length; shorter
// lines, of smaller pictures, read its middle.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/axial_attention.h"
#include "nn/conv_layers.h"
#include "nn/conv_norm.h"
#include "nn/layers.h"
#include "ops/activation.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"

namespace locant {
namespace axial_resnet_model {
namespace {

constexpr std::size_t kMostStages = 8;
constexpr std::int64_t kPoolStride = 2;

struct AxialResnetConfig {
  Pair img_size = {224, 224};
  std::int64_t in_chans = 3, num_classes = 1000;
  std::int64_t stem_kernel = 7, stem_stride = 2;
  std::vector<std::int64_t> stem_chans = {32};
  std::vector<std::int64_t> depths = {1, 2, 4, 1}, dims = {64, 128, 256, 512}, strides = {1, 2, 2, 2};
  std::vector<std::int64_t> spans = {56, 56, 28, 14};  // places of a line in a stage's first block
  std::int64_t expansion = 2, groups = 8, base_width = 64;
  double width_scale = 0.0;  // the paper's s, in descriptions that say it beside dims and stem_chans; 0: not
  float bn_eps = 1e-5f;

  std::size_t stages() const { return dims.size(); }
  std::int64_t out(std::size_t s) const { return dims[s] * expansion; }
  /// Pixels of the picture a place of the last map.
  std::int64_t stride() const {
    std::int64_t pixels = stem_stride * kPoolStride;
    for (const std::int64_t stride : strides) pixels *= stride;
    return pixels;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("stem_kernel", c.stem_kernel, range(1, 31));
  a.field("stem_stride", c.stem_stride, range(1, 31));
  a.field("stem_chans", c.stem_chans, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("dims", c.dims, at_least(1));
  a.field("strides", c.strides, range(1, 8));
  a.field("spans", c.spans, range(1, 1 << 16));
  a.field("expansion", c.expansion, range(1, 64));
  a.field("groups", c.groups, range(1, 256));
  a.field("base_width", c.base_width, range(1, 1024));
  a.field("width_scale", c.width_scale, range(0, 64));
  a.field("bn_eps", c.bn_eps);
  a.only("stem_pad", c.stem_kernel / 2);
  a.only("stem_pool", "max3_stride2_pad1");
  a.only("act", "relu");
  a.only("pool", "mean");
}

void check(const std::string& op, const AxialResnetConfig& c) {
  same_length(op, {{"dims", c.dims.size()},
                   {"depths", c.depths.size()},
                   {"strides", c.strides.size()},
                   {"spans", c.spans.size()}});
  require(c.stages() >= 1 && c.stages() <= kMostStages, op, "{} stages; 1 to {} were expected", c.stages(),
          kMostStages);
  require(c.stem_chans.size() == 1, op, "{} stem_chans; one was expected: a convolution",
          c.stem_chans.size());
  require(c.stem_kernel % 2 == 1, op, "stem_kernel {} must be odd", c.stem_kernel);
  for (std::size_t s = 0; s < c.stages(); ++s) {
    require(c.spans[s] >= c.strides[s], op, "stage {}: lines of {} places and a stride of {}", s, c.spans[s],
            c.strides[s]);
    require(c.width_scale == 0 || c.dims[s] == scaled_width(128 << s, c.width_scale), op,
            "stage {}: width_scale {} stands for {} planes, dims says {}", s, c.width_scale,
            scaled_width(128 << s, c.width_scale), c.dims[s]);
  }
}

class AxialResnet final : public ImageModelOf<AxialResnetConfig> {
 public:
  AxialResnet(const Family& family, AxialResnetConfig config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override {
    const Var x = encode(ctx, images, nullptr);
    return fc_.defined() ? ctx.shown("fc", fc_(ctx, x)) : x;
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = encode(ctx, images, &out.levels);
    return out;
  }

 private:
  /// The mean of the last map, (B, C). `levels`, when given, gets every stage's map.
  Var encode(const Context& ctx, const Var& images, std::vector<Features::Level>* levels) const;
  Var stem(const Context& ctx, const Var& images) const;

  ConvNorm conv_;
  std::vector<std::vector<AxialBlock>> stages_;
  Linear fc_;
};

AxialResnet::AxialResnet(const Family& family, AxialResnetConfig config, const Weights& w)
    : ImageModelOf(family, std::move(config)) {
  const AxialResnetConfig& c = this->c();
  std::int64_t in = c.stem_chans[0];
  conv_ = ConvNorm(w / "conv1", w / "bn1", c.in_chans, in,
                   {.kernel = c.stem_kernel,
                    .stride = c.stem_stride,
                    .pad = c.stem_kernel / 2,
                    .eps = c.bn_eps,
                    .weight_init = fan_out_init(in * c.stem_kernel * c.stem_kernel)});
  for (std::size_t s = 0; s < c.stages(); ++s) {
    std::vector<AxialBlock>& blocks = stages_.emplace_back();
    for (std::int64_t b = 0; b < c.depths[s]; ++b) {
      AxialBlock::Options block;
      block.in = in;
      block.planes = c.dims[s];
      block.expansion = c.expansion;
      block.base_width = c.base_width;
      block.groups = c.groups;
      block.span = b == 0 ? c.spans[s] : c.spans[s] / c.strides[s];
      block.stride = b == 0 ? c.strides[s] : 1;
      block.downsample = b == 0 && (c.strides[s] != 1 || in != c.out(s));
      block.bn_eps = c.bn_eps;
      blocks.emplace_back(w / fmt::format("layer{}", s + 1) / b, block);
      in = c.out(s);
    }
  }
  if (c.num_classes > 0)
    fc_ =
        Linear(w / "fc", in, c.num_classes, {.weight_init = Init::fan_in(in), .bias_init = Init::fan_in(in)});
}

Var AxialResnet::stem(const Context& ctx, const Var& images) const {
  Pool2dOptions pool;
  pool.kernel_rows = pool.kernel_columns = 3;
  pool.stride_rows = pool.stride_columns = kPoolStride;
  pool.pad_rows = pool.pad_columns = 1;
  return ctx.shown("maxpool", max_pool2d(ctx, relu(ctx, conv_(ctx, images)), pool));
}

Var AxialResnet::encode(const Context& ctx, const Var& images, std::vector<Features::Level>* levels) const {
  require_images(op(), images, c().in_chans);
  const Shape& shape = images.shape();
  Var x = stem(ctx, images);
  std::int64_t stride = c().stem_stride * kPoolStride;
  require(std::max(x.dim(2), x.dim(3)) <= c().spans[0], op(),
          "an image of {} x {} has lines of up to {} places here; the tables are made for {}, pictures of up "
          "to {} pixels a side",
          shape[2], shape[3], std::max(x.dim(2), x.dim(3)), c().spans[0], c().spans[0] * stride);
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    // The mean behind the rows' attention rounds down where the shortcut rounds up.
    require(x.dim(2) % c().strides[s] == 0 && x.dim(3) % c().strides[s] == 0, op(),
            "an image of {} x {} comes to stage {} as a map of {} x {}, which its stride {} does not divide; "
            "multiples of {} fit",
            shape[2], shape[3], s + 1, x.dim(2), x.dim(3), c().strides[s], c().stride());
    for (const AxialBlock& block : stages_[s]) x = block(ctx, x);
    stride *= c().strides[s];
    ctx.show([=] { return fmt::format("layer{}", s + 1); }, x);
    if (levels != nullptr) levels->push_back({images_to_tokens(ctx, x), {1, x.dim(2), x.dim(3)}, stride});
  }
  return mean_pool(ctx, images_to_tokens(ctx, x));
}

void from_shapes(const NamedShapes& s, AxialResnetConfig& c) {
  c.dims = c.depths = c.spans = {};
  std::vector<std::int64_t> usual;
  const auto stage_path = [&] { return fmt::format("layer{}", c.stages() + 1); };
  const auto span = [&](const std::string& block) {
    return (s.dim(block + ".hight_block.relative", 1) + 1) / 2;
  };
  const std::int64_t inner = s.dim("layer1.0.hight_block.qkv_transform.weight", 1);
  s.assume("expansion", c.expansion);
  do {
    const std::string stage = stage_path();
    c.spans.push_back(span(stage + ".0"));
    c.depths.push_back(s.count(stage, ".conv_down.weight"));
    // Behind the first block the lines are shorter by its stride.
    usual.push_back(c.depths.back() > 1 ? c.spans.back() / std::max<std::int64_t>(1, span(stage + ".1"))
                    : c.dims.empty()    ? 1
                                        : 2);
    c.dims.push_back(s.dim(stage + ".0.conv_up.weight", 0) / c.expansion);
  } while (c.stages() < kMostStages && s.has(stage_path() + ".0.conv_down.weight"));
  bool possible = c.strides.size() == c.stages();
  for (std::size_t stage = 0; possible && stage < c.stages(); ++stage)
    possible = c.depths[stage] == 1 || c.strides[stage] == usual[stage];
  s.assume("strides", c.strides, usual, possible);
  c.groups = s.dim("layer1.0.hight_block.bn_similarity.weight", 0) / 3;
  if (c.dims[0] * c.base_width / 64 != inner)
    c.base_width = 64 * inner / std::max<std::int64_t>(1, c.dims[0]);
  c.in_chans = s.dim("conv1.weight", 1);
  c.stem_chans = {s.dim("conv1.weight", 0)};
  c.stem_kernel = s.dim("conv1.weight", 2);
  s.assume("stem_stride", c.stem_stride);
  c.num_classes = s.has("fc.weight") ? s.dim("fc.weight", 0) : 0;
  const std::int64_t side = c.spans[0] * c.stem_stride * kPoolStride;
  s.assume("img_size", c.img_size, Pair{side, side});
}

std::vector<Variant<AxialResnetConfig>> variants() {
  struct Size {
    const char* name;
    std::vector<std::int64_t> depths;
    double scale;
  };
  std::vector<Variant<AxialResnetConfig>> out;
  for (const Size& size : {Size{"axial26s", {1, 2, 4, 1}, 0.5},
                           {"axial50s", {3, 4, 6, 3}, 0.5},
                           {"axial50m", {3, 4, 6, 3}, 0.75},
                           {"axial50l", {3, 4, 6, 3}, 1.0}}) {
    Variant<AxialResnetConfig>& v = out.emplace_back();
    v.name = size.name;
    v.config.depths = size.depths;
    v.config.stem_chans = {scaled_width(64, size.scale)};
    for (std::size_t s = 0; s < v.config.stages(); ++s) v.config.dims[s] = scaled_width(128 << s, size.scale);
    v.preprocess.crop_pct = 0.875;
    v.preprocess.filter = ResizeFilter::bilinear;
    v.note = "Axial-ResNet, Wang et al. 2020: ResNet's blocks with attention along columns, then rows";
  }
  return out;
}

std::vector<Renames> renames() {
  Renames out;
  out.naming = "csrhddlam/axial-deeplab";
  out.derived = {"*.flatten_index"};
  return {out};
}

}  // namespace
}  // namespace axial_resnet_model

const Family kAxialResnet =
    family<axial_resnet_model::AxialResnet, axial_resnet_model::variants, axial_resnet_model::renames,
           axial_resnet_model::from_shapes>("axial_resnet");

}  // namespace locant
