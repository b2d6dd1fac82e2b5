#pragma once

// ResNet of bottleneck blocks (He et al. 2016, figure 5 right and table 1) in which some blocks have another
// layer, and a norm behind it, in place of the 3x3 convolution: what BoTNet, HaloNet, stand-alone attention
// and attention-augmented convolutions share. Each gives its layer; names are the library's that has it.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "models/config_json.h"
#include "models/model.h"
#include "models/named_shapes.h"
#include "nn/weights.h"
#include "position/grid.h"

namespace locant {

struct ResnetConfig {
  enum class Act { relu, silu };
  enum class StemPool { none, max3_stride2_pad1 };
  enum class Gate { none, squeeze_excite, eca };  // behind a block's convolution; none behind another layer
  static constexpr std::size_t kMostStages = 8;
  Pair img_size = {256, 256};  // what tables are made for, where a layer has such
  std::int64_t in_chans = 3, num_classes = 1000;
  std::vector<std::int64_t> stem_chans = {24, 32, 64};  // of convolutions; the first has stem_stride
  std::int64_t stem_kernel = 3, stem_stride = 2;
  StemPool stem_pool = StemPool::max3_stride2_pad1;  // none: the last convolution of several has stride 2
  std::vector<std::int64_t> dims = {256, 512, 1024, 2048}, depths = {2, 2, 2, 2}, strides = {1, 2, 2, 2};
  double bottleneck_ratio = 0.25;
  std::vector<std::int64_t> widths = {};    // of the bottlenecks; empty: dims * bottleneck_ratio, by eights
  std::int64_t group_size = 0;              // channels of a group of the convolution; 0: one group
  std::vector<Pair> attention_blocks = {};  // stage and block of those with the other layer, ascending
  Act act = Act::relu;
  Gate gate = Gate::none;
  std::int64_t num_features = 0;  // of a 1x1 convolution behind the last stage; 0: none
  float bn_eps = 1e-5f;
  double drop_path = 0.0;  // of the last block; rises from 0
  // Where attention_blocks halve the map: false: in the layer; true: a mean over 2x2 at the branch's end.
  bool halve_last = false;

  std::size_t stages() const { return dims.size(); }
  std::int64_t width(std::size_t stage) const;
  /// Pixels of the picture a place of a block's input.
  std::int64_t stride_before(std::int64_t stage, std::int64_t block) const;
  /// The map that comes into a block, of pictures of img_size.
  Grid grid_before(std::int64_t stage, std::int64_t block) const;
  /// Of the blocks in attention_blocks.
  std::vector<std::int64_t> attention_strides() const;
};

template <class Archive, class Config>
void resnet_fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("stem_chans", c.stem_chans, at_least(1));
  a.field("stem_kernel", c.stem_kernel, range(1, 31));
  a.field("stem_stride", c.stem_stride, range(1, 2));
  a.choice("stem_pool", c.stem_pool, {"none", "max3_stride2_pad1"});
  a.field("dims", c.dims, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("strides", c.strides, range(1, 2));
  a.field("bottleneck_ratio", c.bottleneck_ratio, below(64));
  a.field("widths", c.widths, at_least(1));
  a.field("group_size", c.group_size);
  a.field("attention_blocks", c.attention_blocks);
  a.choice("act", c.act, {"relu", "silu"});
  a.choice("gate", c.gate, {"none", "squeeze_excite", "eca"});
  a.field("num_features", c.num_features);
  a.field("bn_eps", c.bn_eps);
  a.field("drop_path", c.drop_path, rate());
  a.only("pool", "mean");
}

void check_resnet(const std::string& op, const ResnetConfig& c);

/// What a library calls the parts. Of stages and stem convolutions: fmt's patterns of their numbers.
struct ResnetNames {
  const char *stem_conv, *stem_norm, *stage;
  std::int64_t first_stage;
  const char *narrow, *narrow_norm, *conv, *conv_norm, *layer, *layer_norm, *widen, *widen_norm, *shortcut,
      *shortcut_norm, *head;

  std::string stage_path(std::size_t stage) const;
};
constexpr ResnetNames kTimmResnet = {"stem.conv{}.conv", "stem.conv{}.bn", "stages.{}",      0,
                                     "conv1_1x1.conv",   "conv1_1x1.bn",   "conv2_kxk.conv", "conv2_kxk.bn",
                                     "self_attn",        "post_attn",      "conv3_1x1.conv", "conv3_1x1.bn",
                                     "shortcut.conv",    "shortcut.bn",    "head.fc"};
/// The stem is one convolution.
constexpr ResnetNames kTorchvisionResnet = {"conv1",        "bn1",          "layer{}", 1,     "conv1", "bn1",
                                            "conv2",        "bn2",          "conv2",   "bn2", "conv3", "bn3",
                                            "downsample.0", "downsample.1", "fc"};

class Resnet {
 public:
  /// images (B, width, H, W) -> (B, width, H / stride, W / stride)
  using Layer = std::function<Var(const Context&, const Var&)>;
  struct Place {
    std::size_t index = 0;  ///< in attention_blocks
    std::int64_t width = 0, stride = 1;
    Grid grid = {};  ///< of the map that comes in, of pictures of img_size
  };
  using MakeLayer = std::function<Layer(const Weights&, const Place&)>;

  /// `make` gives the layers of attention_blocks. `stem`, where there is one, takes the place of the stem's
  /// convolutions and pool: images (B, in_chans, H, W) -> (B, last of stem_chans, H / 4, W / 4).
  Resnet(const Weights& w, const ResnetConfig& c, const ResnetNames& names, const MakeLayer& make,
         Layer stem = nullptr);

  /// Logits, or the mean of the last map where there are no classes. Throws Error under `op` for what are no
  /// pictures of the configuration's channels.
  Var operator()(const Context& ctx, const char* op, const Var& images) const;
  /// A level a stage.
  Features features(const Context& ctx, const char* op, const Var& images) const;

 private:
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

/// A mean over 2x2: images (B, C, H, W) -> (B, C, H / 2, W / 2). Throws Error under `op` on odd sides, which
/// a shortcut's stride rounds up.
Var halve(const Context& ctx, const char* op, const Var& images);

/// All of the configuration that shapes tell. `leaf`: a tensor that every layer has, ".qkv.weight".
void resnet_from_shapes(const NamedShapes& s, const ResnetNames& names, const std::string& leaf,
                        ResnetConfig& c);
/// The same but for in_chans, stem_kernel and stem_chans: where the stem is no convolution.
void resnet_body_from_shapes(const NamedShapes& s, const ResnetNames& names, const std::string& leaf,
                             ResnetConfig& c);
/// A picture of the block's map of these sides, where the told img_size has another.
void resnet_image_of(const Pair& block, Grid map, ResnetConfig& c);

/// A family of pictures whose model is a ResNet with `Layer`s: Layer(w, config, place); where stems differ,
/// Layer::stem(w, config) gives one that is no convolution, or none.
template <class C, class Layer, const ResnetNames& kNames>
class ResnetOf final : public ImageModelOf<C> {
 public:
  ResnetOf(const Family& family, C config, const Weights& w)
      : ImageModelOf<C>(family, std::move(config)),
        resnet_(
            w, this->c(), kNames,
            [&](const Weights& at, const Resnet::Place& place) {
              return Resnet::Layer(Layer(at, this->c(), place));
            },
            stem(w, this->c())) {}
  Var forward(const Context& ctx, const Var& images) const override {
    return resnet_(ctx, this->op(), images);
  }
  Features features(const Context& ctx, const Var& images) const override {
    return resnet_.features(ctx, this->op(), images);
  }

 private:
  static Resnet::Layer stem(const Weights& w, const C& c) {
    if constexpr (requires { Layer::stem(w, c); })
      return Layer::stem(w, c);
    else
      return nullptr;
  }

  Resnet resnet_;
};

}  // namespace locant
