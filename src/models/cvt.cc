// CvT: Wu et al. 2021, "CvT: Introducing Convolutions to Vision Transformers", figure 2 (a: stages; b: a
// block with convolutional projection) and table 2. Names: microsoft/CvT (cls_cvt.py). There is no position
// encoding: the depthwise convolutions before q, k and v see places through the zeros around the picture.
// vit-pytorch's own form (norm "channel") keeps pictures throughout: one convolution and one product for k
// and v together, scores by the width of a head, no norm before the head. The file is long because the forms
// and names of three libraries share its layers.
#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_layers.h"
#include "nn/layers.h"
#include "ops/activation.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/norm.h"
#include "ops/rearrange.h"
#include "position/conv_projection.h"

namespace locant {
namespace cvt_model {
namespace {

constexpr std::size_t kMostStages = 8;

struct CvtConfig {
  enum class Projection { dw_bn, avg };
  enum class Scale {
    dim,
    head_dim
  };  // of scores: the width of a stage, or that of a head, to the power -1/2
  enum class Norm { layer, channel };  // channel: vit-pytorch's form, shapes are those of maps
  enum class Act { quick_gelu, gelu };
  Pair img_size = {224, 224};  // decides nothing: any size runs
  std::int64_t in_chans = 3, num_classes = 1000;
  std::vector<std::int64_t> dims = {64, 192, 384}, depths = {1, 2, 10}, heads = {1, 3, 6};
  std::int64_t head_dim = 0;  // 0: dims / heads
  std::vector<double> mlp_ratios = {4.0, 4.0, 4.0};
  std::vector<std::int64_t> patch_kernels = {7, 3, 3}, patch_strides = {4, 2, 2}, patch_pads = {2, 1, 1};
  Projection projection = Projection::dw_bn;
  std::int64_t qkv_kernel = 3;
  std::vector<std::int64_t> kv_strides = {2, 2, 2};
  bool qkv_bias = true;
  std::vector<bool> cls_token = {false, false, true};  // of a stage; what is before the last goes no further
  Scale scale = Scale::dim;
  Norm norm = Norm::layer;
  bool last_norm = true;
  Act act = Act::quick_gelu;
  float norm_eps = 1e-5f, bn_eps = 1e-5f;
  double drop_path = 0.0;  // of the last stage's last block; rises from 0 in that stage alone

  std::size_t stages() const { return dims.size(); }
  /// Channels of q, of k and of v.
  std::int64_t inner(std::size_t s) const { return head_dim > 0 ? heads[s] * head_dim : dims[s]; }
  bool of_maps() const { return norm == Norm::channel; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("dims", c.dims, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads, range(1, 256));
  a.field("head_dim", c.head_dim);
  a.field("mlp_ratios", c.mlp_ratios, below(1024));
  a.field("patch_kernels", c.patch_kernels, range(1, 255));
  a.field("patch_strides", c.patch_strides, range(1, 255));
  a.field("patch_pads", c.patch_pads, range(0, 255));
  a.choice("projection", c.projection, {"dw_bn", "avg"});
  a.field("qkv_kernel", c.qkv_kernel, range(1, 31));
  a.field("kv_strides", c.kv_strides, range(1, 255));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("cls_token", c.cls_token);
  a.choice("scale", c.scale, {"dim", "head_dim"});
  a.choice("norm", c.norm, {"layer", "channel"});
  a.field("last_norm", c.last_norm);
  a.choice("act", c.act, {"quick_gelu", "gelu"});
  a.field("norm_eps", c.norm_eps);
  a.field("bn_eps", c.bn_eps);
  a.field("drop_path", c.drop_path, rate());
  a.only("q_strides", std::vector<std::int64_t>(c.stages(), 1));  // the sum with x needs every place
  for (const char* pad : {"qkv_pad", "q_pad"}) a.only(pad, c.qkv_kernel / 2);
  a.only("pool", !c.cls_token.empty() && c.cls_token.back() ? "cls" : "mean");
}

void check(const std::string& op, const CvtConfig& c) {
  same_length(op, {{"dims", c.dims.size()},
                   {"depths", c.depths.size()},
                   {"heads", c.heads.size()},
                   {"mlp_ratios", c.mlp_ratios.size()},
                   {"patch_kernels", c.patch_kernels.size()},
                   {"patch_strides", c.patch_strides.size()},
                   {"patch_pads", c.patch_pads.size()},
                   {"kv_strides", c.kv_strides.size()},
                   {"cls_token", c.cls_token.size()}});
  require(c.stages() >= 1 && c.stages() <= kMostStages, op, "{} stages; 1 to {} were expected", c.stages(),
          kMostStages);
  require(c.qkv_kernel % 2 == 1, op, "qkv_kernel {} must be odd", c.qkv_kernel);
  for (std::size_t s = 0; s < c.stages(); ++s) {
    require(c.head_dim > 0 || c.dims[s] % c.heads[s] == 0, op,
            "stage {}: width {} does not divide into {} heads", s, c.dims[s], c.heads[s]);
    require(scaled_width(c.dims[s], c.mlp_ratios[s]) > 0, op,
            "stage {}: mlp_ratio {} leaves dim {} no hidden channel", s, c.mlp_ratios[s], c.dims[s]);
  }
}

/// A product of each token; where the model is one of maps, a 1 x 1 convolution that starts as PyTorch's do.
Linear product_layer(const Weights& w, const CvtConfig& c, std::int64_t in, std::int64_t out,
                     bool bias = true) {
  if (!c.of_maps()) return {w, in, out, {.bias = bias}};
  return {w,
          in,
          out,
          {.bias = bias,
           .weight_init = Init::fan_in(in),
           .bias_init = Init::fan_in(in),
           .weight_shape = {out, in, 1, 1}}};
}

/// Of each token's channels; numbers of a model of maps are (1, C, 1, 1).
class TokenNorm {
 public:
  TokenNorm() = default;
  TokenNorm(const Weights& w, const CvtConfig& c, std::int64_t width) : eps_(c.norm_eps) {
    const Shape shape = c.of_maps() ? Shape{1, width, 1, 1} : Shape{width};
    weight_ = w.get("weight", shape, Init::ones(), {.decay = false});
    bias_ = w.get("bias", shape, Init::zeros(), {.decay = false});
  }
  bool defined() const { return weight_.defined(); }
  Var operator()(const Context& ctx, const Var& x) const {
    const Shape row{x.dim(2)};
    return layer_norm(ctx, x, reshape(ctx, weight_, row), reshape(ctx, bias_, row), eps_);
  }

 private:
  Var weight_, bias_;
  float eps_ = 1e-5f;
};

/// Multi-head attention behind convolutional projections. The class token, if any, passes by them.
class Attention {
 public:
  Attention(const Weights& w, const CvtConfig& c, std::size_t s)
      : path_(w.path()), joint_(c.of_maps()), inner_(c.inner(s)) {
    const std::int64_t C = c.dims[s];
    options_.heads = c.heads[s];
    if (c.scale == CvtConfig::Scale::dim) options_.scale = conv_projection_scale(C);
    const auto convolution = [&](const char* name, std::int64_t stride) {
      ConvProjection out;
      out.kernel = c.qkv_kernel;
      out.stride = stride;
      if (c.projection == CvtConfig::Projection::avg) return out;
      const Weights at = w / name;
      const Conv2d::Options depthwise = Conv2d::square(c.qkv_kernel, stride, c.qkv_kernel / 2, C, false);
      if (w.mode() == WeightMode::inference) {
        PackedSource source = Conv2d::source(at / "conv", C, C, depthwise);
        source.fold(BatchNorm(at / "bn", C, {.eps = c.bn_eps}));
        out.packed = source.depthwise(depthwise.conv);
        return out;
      }
      out.weight = Conv2d::numbers(at / "conv", C, C, depthwise).weight;
      out.norm = BatchNorm(at / "bn", C, {.eps = c.bn_eps}).numbers();
      return out;
    };
    convolves_q_ = c.projection == CvtConfig::Projection::dw_bn;
    if (convolves_q_) conv_q_ = convolution("conv_proj_q", 1);
    conv_k_ = convolution(joint_ ? "conv_proj_kv" : "conv_proj_k", c.kv_strides[s]);
    if (!joint_) conv_v_ = convolution("conv_proj_v", c.kv_strides[s]);
    q_ = product_layer(w / "proj_q", c, C, inner_, c.qkv_bias);
    k_ = product_layer(w / (joint_ ? "proj_kv" : "proj_k"), c, C, (joint_ ? 2 : 1) * inner_, c.qkv_bias);
    if (!joint_) v_ = product_layer(w / "proj_v", c, C, inner_, c.qkv_bias);
    proj_ = product_layer(w / "proj", c, inner_, C);
  }
  /// x (B, prefix + rows * columns, C) -> the same, plus skip where that is defined.
  Var operator()(const Context& ctx, const Var& x, Grid grid, std::int64_t prefix, const Var& skip) const {
    const auto projected = [&](const ConvProjection& conv, const char* name) {
      const Var y = conv_projection(ctx, conv, x, grid, prefix);
      if (ctx.probe != nullptr)
        ctx.show([&] { return join_path(path_, name); }, select_rows({}, y, prefix, y.dim(1)));
      return y;
    };
    const Var q = q_(ctx, convolves_q_ ? projected(conv_q_, "conv_proj_q") : x);
    Var k = k_(ctx, projected(conv_k_, joint_ ? "conv_proj_kv" : "conv_proj_k")), v;
    if (joint_) {
      v = slice_axis(ctx, k, 2, inner_, 2 * inner_);
      k = slice_axis(ctx, k, 2, 0, inner_);
    } else {
      v = v_(ctx, projected(conv_v_, "conv_proj_v"));
    }
    const Var attended = attention(ctx, q, k, v, options_);
    if (ctx.probe != nullptr) ctx.show([&] { return path_; }, proj_({}, attended));
    return proj_(ctx, attended, Activation::none, skip);
  }

 private:
  std::string path_;
  bool joint_, convolves_q_ = true;
  std::int64_t inner_;
  AttentionOptions options_;
  ConvProjection conv_q_, conv_k_, conv_v_;
  Linear q_, k_, v_, proj_;
};

/// x + attention(norm1 x), then + fc2(act(fc1(norm2 x))).
class Block {
 public:
  Block(const Weights& w, const CvtConfig& c, std::size_t s, float drop_path)
      : path_(w.path()),
        act_(c.act),
        residual_(drop_path),
        norm1_(w / "norm1", c, c.dims[s]),
        attention_(w / "attn", c, s),
        norm2_(w / "norm2", c, c.dims[s]) {
    const std::int64_t hidden = scaled_width(c.dims[s], c.mlp_ratios[s]);
    fc1_ = product_layer(w / "mlp" / "fc1", c, c.dims[s], hidden);
    fc2_ = product_layer(w / "mlp" / "fc2", c, hidden, c.dims[s]);
  }
  Var operator()(const Context& ctx, Var x, Grid grid, std::int64_t prefix) const {
    x = residual_(ctx, x,
                  [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), grid, prefix, skip); });
    x = residual_(ctx, x, [&](const Var& skip) {
      const Var normed = norm2_(ctx, x);
      const Var hidden = act_ == CvtConfig::Act::gelu ? fc1_(ctx, normed, Activation::gelu)
                                                      : quick_gelu(ctx, fc1_(ctx, normed));
      return fc2_(ctx, hidden, Activation::none, skip);
    });
    ctx.show([&] { return path_; }, x);
    return x;
  }

 private:
  std::string path_;
  CvtConfig::Act act_;
  Residual residual_;
  TokenNorm norm1_;
  Attention attention_;
  TokenNorm norm2_;
  Linear fc1_, fc2_;
};

/// Convolutional token embedding, then blocks.
struct Stage {
  Conv2d proj;
  TokenNorm norm;
  Prefix cls;
  std::vector<Block> blocks;
};

class Cvt final : public ImageModelOf<CvtConfig> {
 public:
  Cvt(const Family& family, CvtConfig config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, encode(ctx, images, nullptr));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = encode(ctx, images, &out.levels);
    return out;
  }

 private:
  /// What the head sees, (B, C). `levels`, when given, gets every stage's tokens.
  Var encode(const Context& ctx, const Var& images, std::vector<Features::Level>* levels) const;
  /// Places of the map after a stage's convolution.
  Grid embedded(std::size_t stage, Grid grid) const;

  std::vector<Stage> stages_;
  TokenNorm norm_;
  Head head_;
};

Cvt::Cvt(const Family& family, CvtConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
  const CvtConfig& c = this->c();
  std::int64_t in = c.in_chans;
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const Weights at = w / fmt::format("stage{}", s);
    Stage& stage = stages_.emplace_back();
    const std::int64_t C = c.dims[s];
    stage.proj = Conv2d(at / "patch_embed" / "proj", in, C,
                        Conv2d::square(c.patch_kernels[s], c.patch_strides[s], c.patch_pads[s]));
    stage.norm = TokenNorm(at / "patch_embed" / "norm", c, C);
    if (c.cls_token[s]) stage.cls.add(at, "cls_token", 1, C, Init::trunc_normal(0.02f));
    const std::vector<float> rates = drop_rates(c.depths[s], s + 1 == c.stages() ? c.drop_path : 0.0);
    for (std::size_t b = 0; b < rates.size(); ++b)
      stage.blocks.emplace_back(at / "blocks" / b, c, s, rates[b]);
    in = C;
  }
  if (c.last_norm) norm_ = TokenNorm(w / "norm", c, in);
  head_ = Head(w / "head", in, c.num_classes);
}

Grid Cvt::embedded(std::size_t s, Grid grid) const {
  const auto places = [&](std::int64_t n) {
    const std::int64_t beyond = n + 2 * c().patch_pads[s] - c().patch_kernels[s];
    return beyond < 0 ? 0 : beyond / c().patch_strides[s] + 1;
  };
  const Grid out{1, places(grid.rows), places(grid.columns)};
  require(out.tokens() > 0, op(), "a map of {} x {} leaves stage {} no token: the picture is too small",
          grid.rows, grid.columns, s);
  return out;
}

Var Cvt::encode(const Context& ctx, const Var& images, std::vector<Features::Level>* levels) const {
  require_images(op(), images, c().in_chans);
  const Shape& shape = images.shape();
  Grid grid{1, shape[2], shape[3]};
  Var map = images, x;
  std::int64_t stride = 1;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const Stage& stage = stages_[s];
    const bool last = s + 1 == stages_.size();
    const auto show_map = [&](const char* name, const Var& tokens) {
      if (ctx.probe != nullptr)
        ctx.show([&] { return fmt::format("stage{}{}", s, name); },
                 tokens_to_images({}, tokens, grid.rows, grid.columns));
    };
    grid = embedded(s, grid);
    stride *= c().patch_strides[s];
    x = stage.norm(ctx, images_to_tokens(ctx, stage.proj(ctx, map)));
    show_map(".patch_embed", x);
    x = stage.cls.before(ctx, x);
    for (const Block& block : stage.blocks) x = block(ctx, std::move(x), grid, stage.cls.size());
    show_map("", stage.cls.cut({}, x));
    if (last) break;
    x = stage.cls.cut(ctx, x);
    if (levels != nullptr) levels->push_back({x, grid, stride});
    map = tokens_to_images(ctx, x, grid.rows, grid.columns);
  }
  const Prefix& cls = stages_.back().cls;
  if (levels == nullptr && cls.size() > 0) x = select_rows(ctx, x, 0, 1);  // nobody reads the others
  if (norm_.defined()) x = ctx.shown("norm", norm_(ctx, x));
  if (levels != nullptr) levels->push_back({cls.cut(ctx, x), grid, stride});
  return cls.size() > 0 ? Prefix::token(ctx, x, 0) : mean_pool(ctx, x);
}

/// A stage's own numbers, behind those of the stages before it.
void stage_from_shapes(const NamedShapes& s, std::size_t stage, std::vector<std::int64_t>& inner,
                       CvtConfig& c) {
  const std::string at = fmt::format("stage{}", stage), block = at + ".blocks.0.";
  c.dims.push_back(s.dim(at + ".patch_embed.proj.weight", 0));
  c.patch_kernels.push_back(s.dim(at + ".patch_embed.proj.weight", 2));
  c.depths.push_back(s.count(at + ".blocks", ".norm1.weight"));
  c.cls_token.push_back(s.has(at + ".cls_token"));
  inner.push_back(s.dim(block + "attn.proj.weight", 1));
  if (c.mlp_ratios.size() <= stage) c.mlp_ratios.push_back(4.0);
  s.ratio(block + "mlp.fc1.weight", c.mlp_ratios[stage]);
}

void heads_from_shapes(const NamedShapes& s, const std::vector<std::int64_t>& inner, CvtConfig& c) {
  if (c.head_dim == 0 && inner != c.dims) s.assume("head_dim", c.head_dim, std::int64_t{64});
  const std::int64_t wide = c.head_dim > 0 ? c.head_dim : 64;
  std::vector<std::int64_t> usual;
  bool divides = true, possible = c.heads.size() == c.stages();
  for (std::size_t stage = 0; stage < c.stages(); ++stage) {
    usual.push_back(std::max<std::int64_t>(1, inner[stage] / wide));
    divides = divides && (inner[stage] % wide == 0 || (c.head_dim == 0 && inner[stage] < wide));
    possible =
        possible && c.heads[stage] > 0 &&
        (c.head_dim > 0 ? c.heads[stage] * c.head_dim == inner[stage] : inner[stage] % c.heads[stage] == 0);
  }
  require(divides || (possible && s.told("heads")), "cvt",
          "widths {} are no multiples of {} channels a head, so that heads must be told",
          fmt::join(inner, ", "), wide);
  if (c.head_dim > 0)
    c.heads = usual;
  else
    s.assume("heads", c.heads, usual, possible);
}

void from_shapes(const NamedShapes& s, CvtConfig& c) {
  c.in_chans = s.dim("stage0.patch_embed.proj.weight", 1);
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  c.dims = c.depths = c.patch_kernels = {};
  c.cls_token = {};
  std::vector<std::int64_t> inner;
  do stage_from_shapes(s, c.stages(), inner, c);
  while (c.stages() < kMostStages && s.has(fmt::format("stage{}.patch_embed.proj.weight", c.stages())));
  c.mlp_ratios.resize(c.stages());
  const std::string attn = "stage0.blocks.0.attn.";
  const bool of_maps = s.has(attn + "proj_kv.weight");
  c.norm = of_maps ? CvtConfig::Norm::channel : CvtConfig::Norm::layer;
  c.last_norm = s.has("norm.weight");
  c.qkv_bias = s.has(attn + "proj_q.bias");
  const bool convolves = s.has(attn + "conv_proj_q.conv.weight");
  c.projection = convolves ? CvtConfig::Projection::dw_bn : CvtConfig::Projection::avg;
  if (convolves)
    c.qkv_kernel = s.dim(attn + "conv_proj_q.conv.weight", 2);
  else
    s.assume("qkv_kernel", c.qkv_kernel);
  heads_from_shapes(s, inner, c);
  std::vector<std::int64_t> strides(c.stages(), 2), pads;
  strides[0] = 4;
  s.assume("patch_strides", c.patch_strides, strides, c.patch_strides.size() == c.stages());
  for (std::size_t stage = 0; stage < c.stages(); ++stage) {
    const std::int64_t beyond = c.patch_kernels[stage] - c.patch_strides[stage] + 1;  // microsoft: 7, 4 -> 2
    pads.push_back(of_maps ? c.patch_kernels[stage] / 2 : std::max<std::int64_t>(0, beyond / 2));
  }
  s.assume("patch_pads", c.patch_pads, pads, c.patch_pads.size() == c.stages());
  s.assume("kv_strides", c.kv_strides, std::vector<std::int64_t>(c.stages(), 2),
           c.kv_strides.size() == c.stages());
}

std::vector<Variant<CvtConfig>> variants() {
  struct Size {
    const char* name;
    std::vector<std::int64_t> dims, depths, heads;
    double drop_path;
  };
  const Size sizes[] = {{"13", {64, 192, 384}, {1, 2, 10}, {1, 3, 6}, 0.1},
                        {"21", {64, 192, 384}, {1, 4, 16}, {1, 3, 6}, 0.1},
                        {"w24", {192, 768, 1024}, {2, 2, 20}, {3, 12, 16}, 0.3}};
  std::vector<Variant<CvtConfig>> out;
  for (const Size& size : sizes)
    for (const std::int64_t image : {224, 384}) {
      if (image == 224 && size.dims[0] > 64) continue;  // the wide one was released at 384
      CvtConfig c;
      c.dims = size.dims;
      c.depths = size.depths;
      c.heads = size.heads;
      c.drop_path = size.drop_path;
      Preprocess preprocess{.rows = image, .columns = image, .crop_pct = 0.875};
      if (image == 384) {
        preprocess.mode = Preprocess::Mode::squash;
        preprocess.crop_pct = 1.0;
      }
      out.push_back({fmt::format("cvt_{}_{}", size.name, image), c, preprocess,
                     "CvT, Wu et al. 2021: convolutions before q, k and v, no position encoding"});
      if (image == 224 || size.dims[0] > 64) out.back().aliases = {fmt::format("cvt_{}", size.name)};
    }
  return out;
}

/// Rates of a stage, and what its class builds and our fields say otherwise.
std::string stage_keys(const std::string& target, const std::string& config) {
  const auto c = read_config<CvtConfig>("cvt", config);
  require_told(c.projection == CvtConfig::Projection::dw_bn, target, "projection avg",
               "it has no such layer, though its configuration has the word");
  require_told(c.last_norm == (c.num_classes > 0), target, fmt::format("last_norm {}", c.last_norm),
               c.num_classes > 0 ? "there is a norm in front of its head" : "that norm is part of its head");
  require_told(c.cls_token.back() || c.num_classes == 0, target, "cls_token false of the last stage",
               "its head asks for that token");
  for (std::size_t s = 0; s < c.stages(); ++s) {
    require_told(c.depths[s] > static_cast<std::int64_t>(s), target,
                 fmt::format("depths [{}]", fmt::join(c.depths, ",")),
                 fmt::format("stage {} must have more than {} blocks there", s, s));
    require_told(!c.cls_token[s] || c.dims[s] == c.dims.back(), target,
                 fmt::format("cls_token true of stage {}", s), "its tokens are as wide as the last stage");
  }
  std::vector<double> none(c.stages(), 0.0), drop_path = none;
  drop_path.back() = c.drop_path;
  ConfigWriter out;
  out.field("drop_rate", none);
  out.field("attention_drop_rate", none);
  out.field("drop_path_rate", drop_path);
  return out.str();
}

std::vector<HubKeys> hub() {
  return {{.model_type = "cvt",
           .keys = {{"num_channels", "in_chans"},
                    {"embed_dim", "dims"},
                    {"depth", "depths"},
                    {"num_heads", "heads"},
                    {"mlp_ratio", "mlp_ratios"},
                    {"patch_sizes", "patch_kernels"},
                    {"patch_stride", "patch_strides"},
                    {"patch_padding", "patch_pads"},
                    {"qkv_projection_method", "projection"},
                    {"kernel_qkv", "qkv_kernel"},
                    {"padding_kv", "qkv_pad"},
                    {"padding_q", "q_pad"},
                    {"stride_kv", "kv_strides"},
                    {"stride_q", "q_strides"},
                    {"qkv_bias", "qkv_bias"},
                    {"cls_token", "cls_token"}},
           .fixed = R"({"act":"gelu","norm_eps":1e-5})",  // whatever its folder says of epsilon
           .values = {{"qkv_bias", "true", R"("full")"}, {"qkv_bias", "false", R"("none")"}},
           .inert = {"drop_rate", "attention_drop_rate", "layer_norm_eps"},
           .in_every_stage = {"qkv_projection_method", "kernel_qkv", "padding_kv", "padding_q", "qkv_bias"},
           .written = {.name = "Cvt",
                       .constants = R"({"initializer_range":0.02,"layer_norm_eps":1e-12})",
                       .says = {"last_norm"},
                       .untold = {"img_size"},
                       .outside = {"layernorm.*"},
                       .more = stage_keys}}};
}

// Sources of the names: the state dicts of the libraries.

Renames transformers_names() {
  Renames out;
  out.naming = "transformers";
  out.prefix = "cvt.";
  out.rules = {
      {"stage{s}.patch_embed.proj", "encoder.stages.{s}.embedding.convolution_embeddings.projection"},
      {"stage{s}.patch_embed.norm", "encoder.stages.{s}.embedding.convolution_embeddings.normalization"},
      {"stage{s}.patch_embed", "encoder.stages.{s}.embedding", true},
      {"stage{s}.blocks.{b}.norm1", "encoder.stages.{s}.layers.{b}.layernorm_before"},
      {"stage{s}.blocks.{b}.norm2", "encoder.stages.{s}.layers.{b}.layernorm_after"},
      {"stage{s}.blocks.{b}.attn.proj", "encoder.stages.{s}.layers.{b}.attention.output.dense"},
      {"stage{s}.blocks.{b}.mlp.fc1", "encoder.stages.{s}.layers.{b}.intermediate.dense"},
      {"stage{s}.blocks.{b}.mlp.fc2", "encoder.stages.{s}.layers.{b}.output.dense"}};
  for (const auto& [ours, theirs] : {std::pair{"q", "query"}, {"k", "key"}, {"v", "value"}}) {
    const std::string at = "encoder.stages.{s}.layers.{b}.attention.attention.",
                      conv = at + "convolution_projection_" + theirs + ".convolution_projection.",
                      here = fmt::format("stage{{s}}.blocks.{{b}}.attn.conv_proj_{}", ours);
    out.rules.emplace_back((here + ".conv").c_str(), (conv + "convolution").c_str());
    out.rules.emplace_back((here + ".bn").c_str(), (conv + "normalization").c_str());
    out.rules.emplace_back(fmt::format("stage{{s}}.blocks.{{b}}.attn.proj_{}", ours).c_str(),
                           (at + "projection_" + theirs).c_str());
  }
  for (const auto& [ours, theirs] :
       {std::pair{"stage{s}.blocks.{b}.attn", "encoder.stages.{s}.layers.{b}.attention"},
        {"stage{s}.blocks.{b}", "encoder.stages.{s}.layers.{b}"},
        {"stage{s}", "encoder.stages.{s}"},
        {"norm", "layernorm"},
        {"head", "classifier"}})
    out.rules.emplace_back(ours, theirs);
  out.overrides = {{"", R"({"act":"gelu","norm_eps":1e-5})"}};
  return out;
}

Renames vit_pytorch_names() {
  Renames out;
  out.naming = "vit-pytorch";
  out.rules = {{"stage{s}.patch_embed.proj", "layers.{s}.0"},
               {"stage{s}.patch_embed.norm.weight", "layers.{s}.1.g"},
               {"stage{s}.patch_embed.norm.bias", "layers.{s}.1.b"},
               {"stage{s}.blocks.{b}.norm1.weight", "layers.{s}.2.layers.{b}.0.norm.g"},
               {"stage{s}.blocks.{b}.norm1.bias", "layers.{s}.2.layers.{b}.0.norm.b"},
               {"stage{s}.blocks.{b}.attn.conv_proj_q.conv", "layers.{s}.2.layers.{b}.0.to_q.net.0"},
               {"stage{s}.blocks.{b}.attn.conv_proj_q.bn", "layers.{s}.2.layers.{b}.0.to_q.net.1"},
               {"stage{s}.blocks.{b}.attn.proj_q", "layers.{s}.2.layers.{b}.0.to_q.net.2"},
               {"stage{s}.blocks.{b}.attn.conv_proj_kv.conv", "layers.{s}.2.layers.{b}.0.to_kv.net.0"},
               {"stage{s}.blocks.{b}.attn.conv_proj_kv.bn", "layers.{s}.2.layers.{b}.0.to_kv.net.1"},
               {"stage{s}.blocks.{b}.attn.proj_kv", "layers.{s}.2.layers.{b}.0.to_kv.net.2"},
               {"stage{s}.blocks.{b}.attn.proj", "layers.{s}.2.layers.{b}.0.to_out.0"},
               {"stage{s}.blocks.{b}.norm2.weight", "layers.{s}.2.layers.{b}.1.net.0.g"},
               {"stage{s}.blocks.{b}.norm2.bias", "layers.{s}.2.layers.{b}.1.net.0.b"},
               {"stage{s}.blocks.{b}.mlp.fc1", "layers.{s}.2.layers.{b}.1.net.1"},
               {"stage{s}.blocks.{b}.mlp.fc2", "layers.{s}.2.layers.{b}.1.net.4"},
               {"stage{s}", "layers.{s}", true},
               {"head", "to_logits.2"}};
  // The form as a whole: no tensor tells the activation and the scale.
  out.overrides = {
      {"", R"({"norm":"channel","last_norm":false,"scale":"head_dim","act":"gelu","qkv_bias":"none",)"
           R"("cls_token":[false,false,false],"patch_pads":[3,1,1]})"}};
  return out;
}

std::vector<Renames> renames() {
  Renames microsoft;
  microsoft.naming = "microsoft/CvT";
  return {microsoft, transformers_names(), vit_pytorch_names()};
}

}  // namespace
}  // namespace cvt_model

const Family kCvt =
    family<cvt_model::Cvt, cvt_model::variants, cvt_model::renames, cvt_model::from_shapes, cvt_model::hub>(
        "cvt");

}  // namespace locant
