// ResNets of stand-alone self-attention: Ramachandran et al. 2019, "Stand-Alone Self-Attention in Vision
// Models", section 3.1 and equation 3; every 3x3 convolution of ResNet (He et al. 2016) becomes attention
// over the window around each place, the stem stays a convolution or becomes attention too (section 3.2).
// There is no official code; published parameter counts are those of projections that every head shares the
// input of. Names: torchvision's of the ResNet, leaderj1001/Stand-Alone-Self-Attention's of the layers. That
// port's networks have another layer, in which every channel attends by itself, and halve maps at the end of
// a block: `attention` sasa_per_channel.
#include <fmt/format.h>

#include <memory>

#include "core/error.h"
#include "models/family.h"
#include "models/resnet.h"
#include "nn/attention_stem.h"
#include "nn/sasa.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"

namespace locant {
namespace sasa_resnet_model {
namespace {

struct SasaResnetConfig : ResnetConfig {
  enum class Form { sasa, sasa_per_channel };
  enum class Border { zeros, masked };  // keys and values outside the map
  enum class Stem { conv, attention };
  SasaResnetConfig() {
    img_size = {224, 224};
    stem_chans = {64};
    stem_kernel = 7;
    depths = {3, 4, 6, 3};
    everywhere();
  }
  void everywhere() {
    attention_blocks.clear();
    for (std::size_t s = 0; s < depths.size(); ++s)
      for (std::int64_t b = 0; b < depths[s]; ++b)
        attention_blocks.push_back({static_cast<std::int64_t>(s), b});
  }
  Form attention = Form::sasa;
  Border border = Border::zeros;
  Stem stem = Stem::conv;
  std::int64_t mixtures = 4;  // of the attention stem's values
  std::int64_t heads = 8, kernel = 7;
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  resnet_fields(a, c);
  a.choice("attention", c.attention, {"sasa", "sasa_per_channel"});
  a.choice("border", c.border, {"zeros", "masked"});
  a.choice("stem", c.stem, {"conv", "attention"});
  a.field("mixtures", c.mixtures, range(1, 64));
  a.field("heads", c.heads, range(1, 256));
  a.field("kernel", c.kernel, range(1, 63));
  a.field("halve_last", c.halve_last);
  a.only("attention_strides", c.attention_strides());
}

void check(const std::string& op, const SasaResnetConfig& c) {
  check_resnet(op, c);
  require(c.kernel % 2 == 1, op, "a window of {} places; it must be odd", c.kernel);
  require(c.stem_chans.size() == 1, op, "{} stem_chans; one was expected: a convolution",
          c.stem_chans.size());
  require(c.attention == SasaResnetConfig::Form::sasa || c.border == SasaResnetConfig::Border::zeros, op,
          "border masked is built for attention sasa only");
  if (c.stem == SasaResnetConfig::Stem::conv) return;
  require(c.attention == SasaResnetConfig::Form::sasa, op, "stem attention is built for attention sasa only");
  require(c.stem_stride == 2 && c.stem_pool == ResnetConfig::StemPool::max3_stride2_pad1, op,
          "stem attention halves maps twice by its own pool: stem_stride must be 2, and stem_pool "
          "max3_stride2_pad1");
}

/// Attention over the window of k x k places around each: `query_conv`, `key_conv`, `value_conv` (width,
/// width, 1, 1), `rel_h`, `rel_w` (k, D / 2), shared by the heads; a mean over 2x2 behind it where it halves
/// the map.
class LocalAttention {
 public:
  LocalAttention(const Weights& w, const SasaResnetConfig& c, std::int64_t width)
      : window_(LocalWindow::centred(c.kernel)), maps_(std::make_shared<SasaMaps>(window_)) {
    options_.heads = c.heads;
    options_.scale = 1.0f;
    options_.zero_pad = c.border == SasaResnetConfig::Border::zeros;
    require(width % (2 * c.heads) == 0, "sasa_resnet", "{} heads do not divide the {} channels of {} evenly",
            c.heads, width, w.path());
    Conv2d::Options plain = Conv2d::square(1, 1, 0, 1, false);
    plain.weight_init = fan_out_init(width);
    key_ = Conv2d(w / "key_conv", width, width, plain);
    query_ = Conv2d(w / "query_conv", width, width, plain);
    value_ = Conv2d(w / "value_conv", width, width, plain);
    const Shape shape{c.kernel, width / c.heads / 2};
    tables_.rows = w.get(Sasa::kRows, shape, Init::normal(1.0f), {.decay = false});
    tables_.columns = w.get(Sasa::kColumns, shape, Init::normal(1.0f), {.decay = false});
  }
  /// images (B, width, H, W) -> the same
  Var operator()(const Context& ctx, const Var& x) const {
    const auto tokens = [&](const Conv2d& made) { return images_to_tokens(ctx, made(ctx, x)); };
    const Var q = tokens(query_);
    AttentionOptions options = options_;
    options.rows = maps_->rows(x.dim(2), x.dim(3));
    options.terms = {
        sasa_term(ctx, tables_, q, options.heads, window_, local_indices(*options.rows, q.dim(1), window_))};
    const Var y = attention(ctx, q, tokens(key_), tokens(value_), options);
    return tokens_to_images(ctx, y, x.dim(2), x.dim(3));
  }

 private:
  LocalWindow window_;
  std::shared_ptr<const SasaMaps> maps_;
  AttentionOptions options_;
  Conv2d query_, key_, value_;
  Sasa tables_;
};

/// Either form; a mean over 2x2 behind it where it halves the map.
class StandAloneAttention {
 public:
  /// max4x4(norm(attention x)), `conv1` and `bn1`: section 4.1 names no activation.
  static Resnet::Layer stem(const Weights& w, const SasaResnetConfig& c) {
    if (c.stem == SasaResnetConfig::Stem::conv) return nullptr;
    constexpr std::int64_t kBlock = 4;
    const AttentionStem attention(w / "conv1", {.in = c.in_chans,
                                                .out = c.stem_chans[0],
                                                .heads = c.heads,
                                                .mixtures = c.mixtures,
                                                .block = kBlock});
    const BatchNorm norm(w / "bn1", c.stem_chans[0], {.eps = c.bn_eps});
    const Pool2dOptions pool{kBlock, kBlock, kBlock, kBlock};
    return [=](const Context& ctx, const Var& images) {
      return max_pool2d(ctx, norm(ctx, attention(ctx, images)), pool);
    };
  }

  StandAloneAttention(const Weights& w, const SasaResnetConfig& c, const Resnet::Place& place)
      : stride_(place.stride) {
    if (c.attention == SasaResnetConfig::Form::sasa)
      layer_ = LocalAttention(w, c, place.width);
    else
      layer_ = SasaConv(w, {place.width, place.width, c.kernel, c.kernel / 2});
  }
  Var operator()(const Context& ctx, const Var& x) const {
    const Var y = layer_(ctx, x);
    return stride_ == 1 ? y : halve(ctx, "sasa_resnet", y);
  }

 private:
  std::int64_t stride_;
  Resnet::Layer layer_;
};

void from_shapes(const NamedShapes& s, SasaResnetConfig& c) {
  using Form = SasaResnetConfig::Form;
  constexpr const char* kLeaf = ".query_conv.weight";
  c.stem_chans = {s.dim("bn1.weight", 0)};  // of either stem
  c.stem = s.has("conv1.emb_mix") ? SasaResnetConfig::Stem::attention : SasaResnetConfig::Stem::conv;
  if (c.stem == SasaResnetConfig::Stem::conv) {
    resnet_from_shapes(s, kTorchvisionResnet, kLeaf, c);
  } else {
    c.in_chans = s.dim("conv1.query_conv.weight", 1);
    c.mixtures = s.dim("conv1.emb_mix", 0);
    resnet_body_from_shapes(s, kTorchvisionResnet, kLeaf, c);
  }
  require(!c.attention_blocks.empty(), "sasa_resnet", "no block has conv2.query_conv.weight");
  const Pair first = c.attention_blocks[0];
  const std::string layer = fmt::format("layer{}.{}.conv2", first.rows + 1, first.columns);
  const Shape table = s.at(layer + ".rel_h");
  c.attention = table.rank() == 5 ? Form::sasa_per_channel : Form::sasa;
  c.kernel = c.attention == Form::sasa ? s.dim(layer + ".rel_h", 0) : s.dim(layer + ".rel_h", 3);
  if (c.attention == Form::sasa) {
    const std::int64_t half = s.dim(layer + ".rel_h", 1);
    c.heads = half > 0 ? s.dim(layer + ".query_conv.weight", 0) / half / 2 : 0;
  }
  if (!s.told("border")) {
    std::string zeros = "zeros";
    s.assume("border", zeros);
  }
  s.assume("halve_last", c.halve_last, c.attention == Form::sasa_per_channel);
  s.assume("img_size", c.img_size);
}

std::vector<Variant<SasaResnetConfig>> variants() {
  std::vector<Variant<SasaResnetConfig>> out;
  for (const auto stem : {SasaResnetConfig::Stem::conv, SasaResnetConfig::Stem::attention})
    for (const auto& [layers, depths] :
         {std::pair{26, std::vector<std::int64_t>{1, 2, 4, 1}}, {38, {2, 3, 5, 2}}, {50, {3, 4, 6, 3}}}) {
      const bool conv = stem == SasaResnetConfig::Stem::conv;
      Variant<SasaResnetConfig>& v = out.emplace_back();
      v.name = fmt::format("sasa_resnet{}{}", layers, conv ? "" : "_attention_stem");
      v.config.depths = depths;
      v.config.everywhere();
      v.config.stem = stem;
      v.preprocess.crop_pct = 0.875;
      v.note = fmt::format("ResNet of stand-alone self-attention behind {}, Ramachandran et al. 2019",
                           conv ? "a convolution stem" : "an attention stem");
    }
  return out;
}

std::vector<Renames> renames() {
  Renames ours, port;
  port.naming = "leaderj1001";
  port.rules = {{"layer{s}.{b}.conv{k}", "layer{s}.{b}.conv{k}.0"},
                {"layer{s}.{b}.bn{k}", "layer{s}.{b}.conv{k}.1"},
                {"layer{s}.{b}.downsample", "layer{s}.{b}.shortcut"},
                {"conv1", "init.0"},
                {"bn1", "init.1"},
                {"fc", "dense"}};
  port.overrides = {{"attention=sasa_per_channel", R"({"halve_last":true})"}};
  return {ours, port};
}

}  // namespace
}  // namespace sasa_resnet_model

const Family kSasaResnet = family<
    ResnetOf<sasa_resnet_model::SasaResnetConfig, sasa_resnet_model::StandAloneAttention, kTorchvisionResnet>,
    sasa_resnet_model::variants, sasa_resnet_model::renames, sasa_resnet_model::from_shapes>("sasa_resnet");

}  // namespace locant
