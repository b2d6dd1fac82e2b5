#include "models/resnet.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/parts.h"
#include "nn/conv_norm.h"
#include "ops/activation.h"
#include "ops/channel_gate.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"

namespace locant {

namespace {

/// The nearest multiple of eight, at least eight and at least `floor` times the number: timm's
/// make_divisible.
std::int64_t by_eights(double number, double floor) {
  const std::int64_t near = std::max<std::int64_t>(8, static_cast<std::int64_t>(number + 4) / 8 * 8);
  return static_cast<double>(near) < floor * number ? near + 8 : near;
}

std::string numbered(const char* pattern, std::int64_t number) {
  return fmt::format(fmt::runtime(pattern), number);
}

/// Kernel of ECA over so many channels: Wang et al. 2020, equation 12, gamma 2, b 1.
std::int64_t eca_kernel(std::int64_t channels) {
  std::int64_t twice = 1;  // log2 channels + 1, rounded down
  for (std::int64_t rest = channels; rest > 1; rest /= 2) ++twice;
  const std::int64_t t = twice / 2;
  return std::max<std::int64_t>(3, t % 2 == 1 ? t : t + 1);
}

}  // namespace

std::string ResnetNames::stage_path(std::size_t s) const {
  return numbered(stage, static_cast<std::int64_t>(s) + first_stage);
}

std::int64_t ResnetConfig::width(std::size_t stage) const {
  return widths.empty() ? by_eights(static_cast<double>(dims[stage]) * bottleneck_ratio, 0.9) : widths[stage];
}
std::int64_t ResnetConfig::stride_before(std::int64_t stage, std::int64_t block) const {
  std::int64_t pixels = stem_stride * (stem_pool == StemPool::none && stem_chans.size() == 1 ? 1 : 2);
  for (std::int64_t s = 0; s < stage + (block > 0 ? 1 : 0); ++s)
    pixels *= strides[static_cast<std::size_t>(s)];
  return pixels;
}
Grid ResnetConfig::grid_before(std::int64_t stage, std::int64_t block) const {
  const std::int64_t pixels = stride_before(stage, block);
  return {1, (img_size.rows + pixels - 1) / pixels, (img_size.columns + pixels - 1) / pixels};
}
std::vector<std::int64_t> ResnetConfig::attention_strides() const {
  std::vector<std::int64_t> out;
  for (const Pair& at : attention_blocks) {
    const auto stage = static_cast<std::size_t>(at.rows);
    out.push_back(at.columns == 0 && stage < strides.size() ? strides[stage] : 1);
  }
  return out;
}

void check_resnet(const std::string& op, const ResnetConfig& c) {
  same_length(op, {{"dims", c.stages()}, {"depths", c.depths.size()}, {"strides", c.strides.size()}});
  require(c.stages() >= 1 && c.stages() <= ResnetConfig::kMostStages, op, "{} stages; 1 to {} were expected",
          c.stages(), ResnetConfig::kMostStages);
  if (!c.widths.empty()) same_length(op, {{"dims", c.stages()}, {"widths", c.widths.size()}});
  require(!c.stem_chans.empty() && c.stem_chans.size() <= 8, op,
          "{} stem_chans; 1 to 8 convolutions were expected", c.stem_chans.size());
  require(c.stem_kernel % 2 == 1, op, "stem_kernel {}; it must be odd", c.stem_kernel);
  for (std::size_t s = 0; s < c.stages() && c.group_size > 0; ++s)
    require(c.width(s) % c.group_size == 0, op,
            "stage {}: groups of {} channels do not divide the bottleneck's {}", s, c.group_size, c.width(s));
  Pair last{-1, 0};
  for (const Pair& at : c.attention_blocks) {
    const auto stage = static_cast<std::size_t>(at.rows);
    require(stage < c.stages() && at.columns < c.depths[stage], op,
            "attention_blocks name block {} of stage {}, which is not there", at.columns, at.rows);
    require(
        at.rows > last.rows || (at.rows == last.rows && at.columns > last.columns), op,
        "attention_blocks name block {} of stage {} behind block {} of stage {}; ascending, each once, was "
        "expected",
        at.columns, at.rows, last.columns, last.rows);
    last = at;
  }
}

namespace {

using Act = ResnetConfig::Act;

Var activate(const Context& ctx, Act act, const Var& x) {
  return act == Act::silu ? silu(ctx, x) : relu(ctx, x);
}

/// y = norm(conv x), started as timm does: the kernel by its outputs.
ConvNorm conv_norm(const Weights& w, const char* conv, const char* norm, std::int64_t in, std::int64_t out,
                   ConvNorm::Options options) {
  require(options.groups >= 1, "resnet", "no groups of {} channels", out);
  options.pad = options.kernel / 2;
  options.weight_init = fan_out_init(options.kernel * options.kernel * out / options.groups);
  return {w / conv, w / norm, in, out, options};
}

/// What multiplies the channels of a map by what their means say: `attn`.
class ChannelGate {
 public:
  ChannelGate() = default;
  ChannelGate(const Weights& w, ResnetConfig::Gate kind, std::int64_t channels) : kind_(kind) {
    if (kind == ResnetConfig::Gate::eca) {
      const std::int64_t k = eca_kernel(channels);
      kernel_ = (w / "conv").get("weight", {1, 1, k}, Init::fan_in(k));
    } else if (kind == ResnetConfig::Gate::squeeze_excite) {
      const std::int64_t narrow = by_eights(static_cast<double>(channels) / 16, 0.0);
      const Weights fc1 = w / "fc1", fc2 = w / "fc2";
      reduce_ = fc1.get("weight", {narrow, channels, 1, 1}, fan_out_init(narrow));
      reduce_bias_ = fc1.get("bias", {narrow}, Init::zeros());
      expand_ = fc2.get("weight", {channels, narrow, 1, 1}, fan_out_init(channels));
      expand_bias_ = fc2.get("bias", {channels}, Init::zeros());
    }
  }
  Var operator()(const Context& ctx, const Var& x) const {
    switch (kind_) {
      case ResnetConfig::Gate::eca:
        return efficient_channel_attention(ctx, x, kernel_, Gate::sigmoid);
      case ResnetConfig::Gate::squeeze_excite:
        return squeeze_excite(ctx, x, reduce_, reduce_bias_, expand_, expand_bias_, Gate::sigmoid);
      case ResnetConfig::Gate::none:
        break;
    }
    return x;
  }

 private:
  ResnetConfig::Gate kind_ = ResnetConfig::Gate::none;
  Var kernel_, reduce_, reduce_bias_, expand_, expand_bias_;
};

/// act(shortcut x + widen(gate(act(conv(act(narrow x)))))), or with act(norm(layer .)) for the convolution.
class Block {
 public:
  struct Options {
    std::int64_t in = 0, width = 0, out = 0, stride = 1;
    float drop_path = 0.0f;
  };
  Block(const Weights& w, const ResnetConfig& c, const ResnetNames& names, const Options& o,
        const std::function<Resnet::Layer(const Weights&)>& make)
      : act_(c.act), layer_path_(w.path(names.layer)), residual_(o.drop_path) {
    const float eps = c.bn_eps;
    if (o.in != o.out || o.stride != 1)
      shortcut_ = conv_norm(w, names.shortcut, names.shortcut_norm, o.in, o.out,
                            {.kernel = 1, .stride = o.stride, .eps = eps});
    narrow_ = conv_norm(w, names.narrow, names.narrow_norm, o.in, o.width, {.kernel = 1, .eps = eps});
    if (make) {
      halves_ = c.halve_last && o.stride == 2;
      layer_ = make(w / names.layer);
      norm_ = BatchNorm(w / names.layer_norm, o.width, {.eps = eps});
    } else {
      const std::int64_t groups = c.group_size == 0 ? 1 : o.width / c.group_size;
      conv_ = conv_norm(w, names.conv, names.conv_norm, o.width, o.width,
                        {.kernel = 3, .stride = o.stride, .groups = groups, .eps = eps});
      gate_ = ChannelGate(w / "attn", c.gate, o.width);
    }
    // A block starts as its shortcut.
    widen_ = conv_norm(w, names.widen, names.widen_norm, o.width, o.out,
                       {.kernel = 1, .eps = eps, .norm_init = Init::zeros()});
  }
  Var operator()(const Context& ctx, const Var& x) const {
    const Var skip = shortcut_.defined() ? shortcut_(ctx, x) : x;
    const Var y = residual_(ctx, skip, [&](const Var& add_to) {
      const Var wide = widen_(ctx, middle(ctx, activate(ctx, act_, narrow_(ctx, x))));
      const Var out = halves_ ? halve(ctx, "resnet", wide) : wide;
      return add_to.defined() ? add(ctx, out, add_to) : out;
    });
    return activate(ctx, act_, y);
  }

 private:
  Var middle(const Context& ctx, const Var& x) const {
    if (!layer_) return gate_(ctx, activate(ctx, act_, conv_(ctx, x)));
    const Var y = layer_(ctx, x);
    ctx.show([&] { return layer_path_; }, y);
    return activate(ctx, act_, norm_(ctx, y));
  }

  Act act_;
  bool halves_ = false;  // the branch, at its end
  std::string layer_path_;
  Residual residual_;
  ConvNorm shortcut_, narrow_, conv_, widen_;
  ChannelGate gate_;
  Resnet::Layer layer_;
  BatchNorm norm_;
};

}  // namespace

struct Resnet::Parts {
  ResnetConfig c;
  ResnetNames names;
  Layer stem_layer;  // in place of `stem` and its pool
  std::vector<ConvNorm> stem;
  std::vector<std::vector<Block>> stages;
  ConvNorm final_conv;
  Linear head;

  /// The mean of the last map, (B, C). `levels`, when given, gets every stage's map.
  Var encode(const Context& ctx, const char* op, const Var& images,
             std::vector<Features::Level>* levels) const {
    require_images(op, images, c.in_chans);
    Var x = stem_layer ? stem_layer(ctx, images) : convolved(ctx, images);
    ctx.show([] { return "stem"; }, x);
    Var tokens;
    for (std::size_t s = 0; s < stages.size(); ++s) {
      for (const Block& block : stages[s]) x = block(ctx, x);
      ctx.show([&] { return names.stage_path(s); }, x);
      const bool last = s + 1 == stages.size();
      if (last && final_conv.defined()) {
        x = activate(ctx, c.act, final_conv(ctx, x));
        ctx.show([] { return "final_conv"; }, x);
      }
      if (!last && levels == nullptr) continue;
      tokens = images_to_tokens(ctx, x);
      if (levels != nullptr)
        levels->push_back(
            {tokens, {1, x.dim(2), x.dim(3)}, c.stride_before(static_cast<std::int64_t>(s), 1)});
    }
    return mean_pool(ctx, tokens);
  }

  Var convolved(const Context& ctx, Var x) const {
    for (const ConvNorm& conv : stem) x = activate(ctx, c.act, conv(ctx, x));
    return c.stem_pool == ResnetConfig::StemPool::max3_stride2_pad1 ? max_pool2d(ctx, x, pool()) : x;
  }
  static Pool2dOptions pool() {
    Pool2dOptions options;
    options.kernel_rows = options.kernel_columns = 3;
    options.pad_rows = options.pad_columns = 1;
    return options;
  }
};

Resnet::Resnet(const Weights& w, const ResnetConfig& c, const ResnetNames& names, const MakeLayer& make,
               Layer stem) {
  auto parts = std::make_shared<Parts>();
  parts->c = c;
  parts->names = names;
  parts->stem_layer = std::move(stem);
  std::int64_t in = c.in_chans;
  for (std::size_t k = 0; k < c.stem_chans.size() && !parts->stem_layer; ++k) {
    const auto number = static_cast<std::int64_t>(k) + 1;
    const bool last = k + 1 == c.stem_chans.size();
    const bool strided_end = last && k > 0 && c.stem_pool == ResnetConfig::StemPool::none;
    parts->stem.push_back(conv_norm(w, numbered(names.stem_conv, number).c_str(),
                                    numbered(names.stem_norm, number).c_str(), in, c.stem_chans[k],
                                    {.kernel = c.stem_kernel,
                                     .stride = k == 0        ? c.stem_stride
                                               : strided_end ? 2
                                                             : 1,
                                     .eps = c.bn_eps}));
    in = c.stem_chans[k];
  }
  if (parts->stem_layer) in = c.stem_chans.back();
  std::int64_t blocks = 0;
  for (const std::int64_t depth : c.depths) blocks += depth;
  const std::vector<float> rates = drop_rates(blocks, c.drop_path);
  std::size_t number = 0, attention = 0;
  for (std::size_t s = 0; s < c.stages(); ++s) {
    std::vector<Block>& stage = parts->stages.emplace_back();
    for (std::int64_t b = 0; b < c.depths[s]; ++b) {
      const Block::Options options{in, c.width(s), c.dims[s], b == 0 ? c.strides[s] : 1, rates[number++]};
      const auto at = static_cast<std::int64_t>(s);
      const bool attends =
          attention < c.attention_blocks.size() && c.attention_blocks[attention] == Pair{at, b};
      std::function<Layer(const Weights&)> layer;
      if (attends)
        layer = [&, place = Place{attention++, options.width, c.halve_last ? 1 : options.stride,
                                  c.grid_before(at, b)}](const Weights& here) { return make(here, place); };
      stage.emplace_back(w / names.stage_path(s) / b, c, names, options, layer);
      in = c.dims[s];
    }
  }
  if (c.num_features > 0) {
    parts->final_conv =
        conv_norm(w / "final_conv", "conv", "bn", in, c.num_features, {.kernel = 1, .eps = c.bn_eps});
    in = c.num_features;
  }
  if (c.num_classes > 0)
    parts->head = Linear(w / names.head, in, c.num_classes, {.weight_init = Init::normal(0.01f)});
  parts_ = std::move(parts);
}

Var Resnet::operator()(const Context& ctx, const char* op, const Var& images) const {
  const Var x = parts_->encode(ctx, op, images, nullptr);
  return parts_->head.defined() ? ctx.shown(parts_->names.head, parts_->head(ctx, x)) : x;
}

Features Resnet::features(const Context& ctx, const char* op, const Var& images) const {
  Features out;
  out.cls = parts_->encode(ctx, op, images, &out.levels);
  return out;
}

Var halve(const Context& ctx, const char* op, const Var& images) {
  require(images.dim(2) % 2 == 0 && images.dim(3) % 2 == 0, op,
          "a map of {} x {} is to be halved; pictures whose sides are multiples of the last map's stride fit",
          images.dim(2), images.dim(3));
  return average_pool2d(ctx, images, Pool2dOptions{});
}

void resnet_from_shapes(const NamedShapes& s, const ResnetNames& names, const std::string& leaf,
                        ResnetConfig& c) {
  const auto stem = [&](std::size_t k) {
    return numbered(names.stem_conv, static_cast<std::int64_t>(k) + 1) + ".weight";
  };
  c.in_chans = s.dim(stem(0), 1);
  c.stem_kernel = s.dim(stem(0), 2);
  c.stem_chans.clear();
  do c.stem_chans.push_back(s.dim(stem(c.stem_chans.size()), 0));
  while (stem(0) != stem(c.stem_chans.size()) && c.stem_chans.size() < 8 && s.has(stem(c.stem_chans.size())));
  resnet_body_from_shapes(s, names, leaf, c);
}

void resnet_body_from_shapes(const NamedShapes& s, const ResnetNames& names, const std::string& leaf,
                             ResnetConfig& c) {
  c.dims = c.depths = {};
  c.attention_blocks.clear();
  std::vector<std::int64_t> widths, group_sizes;
  c.gate = ResnetConfig::Gate::none;
  const auto path = [&](std::size_t stage, std::int64_t block, const std::string& part) {
    return fmt::format("{}.{}.{}", names.stage_path(stage), block, part);
  };
  const std::string widen = std::string(names.widen) + ".weight";
  do {
    const std::size_t stage = c.stages();
    c.dims.push_back(s.dim(path(stage, 0, widen), 0));
    widths.push_back(s.dim(path(stage, 0, widen), 1));
    c.depths.push_back(s.count(names.stage_path(stage), "." + widen));
    for (std::int64_t b = 0; b < c.depths.back(); ++b) {
      if (s.has(path(stage, b, names.layer + leaf))) {
        c.attention_blocks.push_back({static_cast<std::int64_t>(stage), b});
        continue;
      }
      const std::int64_t group = s.dim(path(stage, b, std::string(names.conv) + ".weight"), 1);
      group_sizes.push_back(group == widths.back() ? 0 : group);
      if (s.has(path(stage, b, "attn.conv.weight"))) c.gate = ResnetConfig::Gate::eca;
      if (s.has(path(stage, b, "attn.fc1.weight"))) c.gate = ResnetConfig::Gate::squeeze_excite;
    }
  } while (c.stages() < ResnetConfig::kMostStages && s.has(path(c.stages(), 0, widen)));

  bool as_told = c.widths.empty() || c.widths.size() == c.stages();
  for (std::size_t stage = 0; as_told && stage < c.stages(); ++stage)
    as_told = c.width(stage) == widths[stage];
  if (!as_told) c.widths = widths;
  // A group that is the whole bottleneck of one stage may be a part of another's.
  const auto grouped =
      std::find_if(group_sizes.begin(), group_sizes.end(), [](std::int64_t g) { return g != 0; });
  if (grouped != group_sizes.end())
    c.group_size = *grouped;
  else if (std::any_of(widths.begin(), widths.end(),
                       [&](std::int64_t width) { return width != c.group_size; }))
    c.group_size = 0;
  std::vector<std::int64_t> usual(c.stages(), 2);
  usual[0] = 1;
  s.assume("stem_stride", c.stem_stride);
  s.assume("strides", c.strides, usual, c.strides.size() == c.stages());
  c.num_features = s.has("final_conv.conv.weight") ? s.dim("final_conv.conv.weight", 0) : 0;
  const std::string head = std::string(names.head) + ".weight";
  c.num_classes = s.has(head) ? s.dim(head, 0) : 0;
  if (!s.told("act")) {
    std::string relu = "relu";
    s.assume("act", relu);
  }
  if (!s.told("stem_pool")) {
    std::string pool = "max3_stride2_pad1";
    s.assume("stem_pool", pool);
  }
}

void resnet_image_of(const Pair& block, Grid map, ResnetConfig& c) {
  const Grid told = c.grid_before(block.rows, block.columns);
  if (told.rows == map.rows && told.columns == map.columns) return;
  const std::int64_t pixels = c.stride_before(block.rows, block.columns);
  c.img_size = {map.rows * pixels, map.columns * pixels};
}

}  // namespace locant
