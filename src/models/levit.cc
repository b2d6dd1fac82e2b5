// LeViT: Graham et al. 2021, "LeViT: a Vision Transformer in ConvNet's Clothing for Faster Inference",
// figures 3 (the pyramid), 4 and 5 (attention, and attention that halves the grid). Batch norms in place of
// layer norms, one behind every product. Tree and stage paths are timm's, leaves `c`, `bn`, `l` are those of
// facebookresearch/LeViT, whose own tree is one flat list of blocks. The grid shrinks at a stage's start: its
// `downsample` attends from every second place to all, without a residual, and has an MLP, with one. A third
// of the file is names: two libraries count on through the stages.
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_norm.h"
#include "nn/linear_norm.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/levit_bias.h"

namespace locant {
namespace levit_model {
namespace {

constexpr std::size_t kMostStages = 8;

struct LevitConfig {
  enum class Act { hard_swish, silu };
  enum class Pool { mean, mean_two_heads };  // two heads: their average
  Pair img_size = {224, 224};                // what the biases are made for
  std::int64_t in_chans = 3, num_classes = 1000;
  std::vector<std::int64_t> stem_chans = {};  // of convolutions with stride 2; empty: an eighth of dims[0] on
  std::vector<std::int64_t> dims = {128, 256, 384}, depths = {2, 3, 4}, heads = {4, 6, 8};
  // Of the attention in front of stages 1, 2, ..; empty: dims / key_dim.
  std::vector<std::int64_t> down_heads = {};
  std::int64_t key_dim = 16, down_stride = 2;
  double attn_ratio = 2.0, down_attn_ratio = 4.0;  // value over key channels of a head
  double mlp_ratio = 2.0, down_mlp_ratio = 2.0;
  Act act = Act::hard_swish;
  Pool pool = Pool::mean_two_heads;
  float bn_eps = 1e-5f;
  bool use_conv = false;   // the file's products are 1x1 convolutions
  double drop_path = 0.0;  // of every block alike

  std::vector<std::int64_t> stem() const {
    return stem_chans.empty() ? std::vector{dims[0] / 8, dims[0] / 4, dims[0] / 2, dims[0]} : stem_chans;
  }
  std::int64_t down_heads_of(std::size_t stage) const {
    return down_heads.empty() ? dims[stage - 1] / key_dim : down_heads[stage - 1];
  }
  std::int64_t stem_stride() const { return std::int64_t{1} << stem().size(); }
  LinearNorm::Options norm(const Init& init = Init::ones()) const { return {bn_eps, init, use_conv}; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("stem_chans", c.stem_chans, at_least(1));
  a.field("dims", c.dims, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads, range(1, 256));
  a.field("down_heads", c.down_heads, range(1, 256));
  a.field("key_dim", c.key_dim, range(1, 1024));
  a.field("attn_ratio", c.attn_ratio, below(64));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("down_attn_ratio", c.down_attn_ratio, below(64));
  a.field("down_mlp_ratio", c.down_mlp_ratio, below(1024));
  a.field("down_stride", c.down_stride, range(1, 16));
  a.choice("act", c.act, {"hard_swish", "silu"});
  a.choice("pool", c.pool, {"mean", "mean_two_heads"});
  a.field("bn_eps", c.bn_eps);
  a.field("use_conv", c.use_conv);
  a.field("drop_path", c.drop_path, rate());
  a.only("stem_kernel", std::int64_t{3});
  a.only("stem_stride", std::int64_t{2});
  a.only("stem_pad", std::int64_t{1});
}

void check(const std::string& op, const LevitConfig& c) {
  same_length(op, {{"dims", c.dims.size()}, {"depths", c.depths.size()}, {"heads", c.heads.size()}});
  require(!c.dims.empty() && c.dims.size() <= kMostStages, op, "{} stages; 1 to {} were expected",
          c.dims.size(), kMostStages);
  if (!c.down_heads.empty())
    same_length(op, {{"dims behind the first", c.dims.size() - 1}, {"down_heads", c.down_heads.size()}});
  if (!c.stem_chans.empty())
    require(c.stem_chans.size() <= 8 && c.stem_chans.back() == c.dims[0], op,
            "stem_chans of {} convolutions to {} channels; 1 to 8, the last to dims' {}, were expected",
            c.stem_chans.size(), c.stem_chans.back(), c.dims[0]);
  require(c.img_size.rows % c.stem_stride() == 0 && c.img_size.columns % c.stem_stride() == 0, op,
          "img_size {} x {} is no multiple of the stem's stride {}", c.img_size.rows, c.img_size.columns,
          c.stem_stride());
}

/// The usual stem and heads in front of a stage in full.
void tidy(LevitConfig& c) {
  if (c.stem_chans.empty()) c.stem_chans = c.stem();
  for (std::size_t s = c.down_heads.size() + 1; s < c.dims.size(); ++s)
    c.down_heads.push_back(c.dims[s - 1] / c.key_dim);
}

Var activate(const Context& ctx, LevitConfig::Act act, const Var& x) {
  return act == LevitConfig::Act::silu ? silu(ctx, x) : hard_swish(ctx, x);
}

/// Attention from every `step`-th place of the key grid: `proj` behind the activation, and either `qkv` or,
/// where the grid shrinks, `kv` and `q`. The heads' values are `ratio` times as wide as their keys.
class Attention {
 public:
  struct Options {
    std::int64_t in, out, heads;
    double ratio;
    Window grid;  // of the keys
    std::int64_t step = 1;
  };
  Attention() = default;
  Attention(const Weights& w, const LevitConfig& c, const Options& o)
      : act_(c.act), heads_(o.heads), step_(o.step) {
    const std::int64_t value = scaled_width(c.key_dim, o.ratio);
    bias_ = {o.grid, w.get(LevitBias::kTable, {heads_, o.grid.tokens()}, Init::zeros(), {.decay = false})};
    if (step_ == 1) {
      qkv_ = HeadsLinearNorm(w / "qkv", o.in, heads_, {c.key_dim, c.key_dim, value}, c.norm());
    } else {
      qkv_ = HeadsLinearNorm(w / "kv", o.in, heads_, {c.key_dim, value}, c.norm());
      q_ = LinearNorm(w / "q", o.in, heads_ * c.key_dim, c.norm());
    }
    // Where there is a residual, a block starts as nothing.
    proj_ = LinearNorm(w / "proj", heads_ * value, o.out, c.norm(step_ == 1 ? Init::zeros() : Init::ones()));
  }
  /// x (B, rows * columns, in) -> (B, every step-th place, out), plus skip where that is defined.
  Var operator()(const Context& ctx, const Var& x, Grid grid, const Var& skip) const {
    std::vector<Var> qkv = qkv_(ctx, x);
    if (step_ > 1) qkv.insert(qkv.begin(), q_(ctx, every_step(ctx, x, grid)));
    const Window key{grid.rows, grid.columns};
    AttentionOptions options;
    options.heads = heads_;
    options.terms = {
        levit_bias_term(ctx, {key, resize_levit_bias(ctx, bias_.table, bias_.key, key)}, heads_, step_)};
    return proj_(ctx, activate(ctx, act_, attention(ctx, qkv[0], qkv[1], qkv[2], options)), skip);
  }
  Grid shrunk(Grid grid) const {
    return {1, levit_query_side(grid.rows, step_), levit_query_side(grid.columns, step_)};
  }

 private:
  Var every_step(const Context& ctx, const Var& x, Grid grid) const {
    const Grid to = shrunk(grid);
    std::vector<std::int32_t> rows;
    for (std::int64_t b = 0; b < x.dim(0); ++b)
      for (std::int64_t r = 0; r < to.rows; ++r)
        for (std::int64_t c = 0; c < to.columns; ++c)
          rows.push_back(static_cast<std::int32_t>(b * x.dim(1) + r * step_ * grid.columns + c * step_));
    const Var all = reshape(ctx, x, {x.dim(0) * x.dim(1), x.dim(2)});
    return reshape(ctx, gather_rows(ctx, all, rows), {x.dim(0), to.tokens(), x.dim(2)});
  }

  LevitConfig::Act act_ = LevitConfig::Act::hard_swish;
  std::int64_t heads_ = 1, step_ = 1;
  LevitBias bias_;
  HeadsLinearNorm qkv_;
  LinearNorm q_, proj_;
};

/// ln2(act(ln1 x)); starts as nothing.
class NormedMlp {
 public:
  NormedMlp() = default;
  NormedMlp(const Weights& w, const LevitConfig& c, std::int64_t width, double ratio)
      : act_(c.act),
        ln1_(w / "ln1", width, scaled_width(width, ratio), c.norm()),
        ln2_(w / "ln2", scaled_width(width, ratio), width, c.norm(Init::zeros())) {}
  Var operator()(const Context& ctx, const Var& x, const Var& skip) const {
    return ln2_(ctx, activate(ctx, act_, ln1_(ctx, x)), skip);
  }

 private:
  LevitConfig::Act act_ = LevitConfig::Act::hard_swish;
  LinearNorm ln1_, ln2_;
};

/// x + attention(x), then + mlp. A stage's first: attention(x) alone, on a coarser grid.
class Block {
 public:
  Block() = default;
  Block(const Weights& w, const char* attention, const LevitConfig& c, const Attention::Options& o,
        double mlp_ratio)
      : residual_(static_cast<float>(c.drop_path)),
        shrinks_(o.step > 1),
        attention_(w / attention, c, o),
        mlp_(w / "mlp", c, o.out, mlp_ratio) {}
  void operator()(const Context& ctx, Features::Level& x) const {
    const Grid grid = x.grid;
    const auto attend = [&](const Var& skip) { return attention_(ctx, x.tokens, grid, skip); };
    const Var y = shrinks_ ? attend(Var()) : residual_(ctx, x.tokens, attend);
    x.grid = attention_.shrunk(grid);
    x.tokens = residual_(ctx, y, [&](const Var& skip) { return mlp_(ctx, y, skip); });
  }

 private:
  Residual residual_;
  bool shrinks_ = false;
  Attention attention_;
  NormedMlp mlp_;
};

class Levit final : public ImageModelOf<LevitConfig> {
 public:
  Levit(const Family& family, LevitConfig config, const Weights& w)
      : ImageModelOf(family, std::move(config)) {
    const LevitConfig& c = this->c();
    std::int64_t chans = c.in_chans;
    const std::vector<std::int64_t> stem = c.stem();
    require(stem.front() >= 1, op(), "a stem of {} channels; dims' first must be at least 8", stem.front());
    for (std::size_t k = 0; k < stem.size(); ++k) {
      stem_.emplace_back(w / "stem" / fmt::format("conv{}", k + 1), chans, stem[k],
                         ConvNorm::Options{.kernel = 3, .stride = 2, .pad = 1, .eps = c.bn_eps});
      chans = stem[k];
    }
    Window grid{c.img_size.rows / c.stem_stride(), c.img_size.columns / c.stem_stride()};
    for (std::size_t s = 0; s < c.dims.size(); ++s) {
      const Weights at = w / "stages" / static_cast<std::int64_t>(s);
      Stage& stage = stages_.emplace_back();
      if (s > 0) {
        require(c.down_heads_of(s) >= 1, op(), "keys of {} channels in {}: no heads in front of stage {}",
                c.key_dim, c.dims[s - 1], s);
        stage.downsample =
            Block(at / "downsample", "attn_downsample", c,
                  {c.dims[s - 1], c.dims[s], c.down_heads_of(s), c.down_attn_ratio, grid, c.down_stride},
                  c.down_mlp_ratio);
        grid = {levit_query_side(grid.rows, c.down_stride), levit_query_side(grid.columns, c.down_stride)};
      }
      for (std::int64_t b = 0; b < c.depths[s]; ++b)
        stage.blocks.emplace_back(at / "blocks" / b, "attn", c,
                                  Attention::Options{c.dims[s], c.dims[s], c.heads[s], c.attn_ratio, grid},
                                  c.mlp_ratio);
    }
    if (c.num_classes == 0) return;
    head_ = NormLinear(w / "head", c.dims.back(), c.num_classes, c.bn_eps);
    if (c.pool == LevitConfig::Pool::mean_two_heads)
      head_dist_ = NormLinear(w / "head_dist", c.dims.back(), c.num_classes, c.bn_eps);
  }

  Var forward(const Context& ctx, const Var& images) const override {
    const Var pooled = mean_pool(ctx, encode(ctx, images, nullptr).tokens);
    if (!head_.defined()) return pooled;
    const Var answer = ctx.shown("head", head_(ctx, pooled));
    if (!head_dist_.defined()) return answer;
    return average(ctx, answer, ctx.shown("head_dist", head_dist_(ctx, pooled)));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = mean_pool(ctx, encode(ctx, images, &out.levels).tokens);
    return out;
  }

 private:
  using Level = Features::Level;
  struct Stage {
    Block downsample;  // but in the first
    std::vector<Block> blocks;
  };
  /// The last stage's tokens. `levels`, when given, gets every stage's.
  Level encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const {
    Level x = stem(ctx, images);
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      if (s > 0) {
        stages_[s].downsample(ctx, x);
        x.stride *= c().down_stride;
        ctx.show([=] { return fmt::format("stages.{}.downsample", s); }, x.tokens);
      }
      for (std::size_t b = 0; b < stages_[s].blocks.size(); ++b) {
        stages_[s].blocks[b](ctx, x);
        ctx.show([=] { return fmt::format("stages.{}.blocks.{}", s, b); }, x.tokens);
      }
      ctx.show([=] { return fmt::format("stages.{}", s); }, x.tokens);
      if (levels != nullptr) levels->push_back(x);
    }
    return x;
  }
  Level stem(const Context& ctx, const Var& images) const {
    require_images(op(), images, c().in_chans);
    Var x = images;
    for (std::size_t k = 0; k < stem_.size(); ++k) x = stem_[k](ctx, k == 0 ? x : activate(ctx, c().act, x));
    ctx.show([] { return "stem"; }, x);
    return {images_to_tokens(ctx, x), {1, x.dim(2), x.dim(3)}, c().stem_stride()};
  }

  std::vector<ConvNorm> stem_;
  std::vector<Stage> stages_;
  NormLinear head_, head_dist_;
};

/// Channels of a head's keys, and of its values over them, from the rows of q, k and v of so many heads.
void head_widths(const NamedShapes& s, const std::string& attention, std::int64_t heads, bool shrinks,
                 std::int64_t& key_dim, double& ratio) {
  const std::int64_t rows = s.dim(attention + (shrinks ? ".kv.c.weight" : ".qkv.c.weight"), 0);
  const std::int64_t values = s.dim(attention + ".proj.c.weight", 1), keys = rows - values;
  const std::int64_t each = heads * (shrinks ? 1 : 2);
  require(heads > 0 && keys > 0 && keys % each == 0, "levit",
          "{} has {} rows of keys and queries, which its {} heads do not divide", attention, keys, heads);
  key_dim = keys / each;
  if (scaled_width(key_dim, ratio) * heads != values)
    ratio = static_cast<double>(values) / static_cast<double>(heads * key_dim);
}

void from_shapes(const NamedShapes& s, LevitConfig& c) {
  c.in_chans = s.dim("stem.conv1.c.weight", 1);
  c.stem_chans.clear();
  for (std::size_t k = 1; s.has(fmt::format("stem.conv{}.c.weight", k)); ++k)
    c.stem_chans.push_back(s.dim(fmt::format("stem.conv{}.c.weight", k), 0));
  require(s.dim("stem.conv1.c.weight", 2) == 3, "levit", "stem.conv1.c.weight is {}; kernels of 3 are built",
          s.at("stem.conv1.c.weight").str());
  c.dims.clear(), c.depths.clear(), c.heads.clear(), c.down_heads.clear();
  std::int64_t key_dim = 0;
  for (std::size_t stage = 0; stage < kMostStages; ++stage) {
    const std::string at = fmt::format("stages.{}", stage), attention = at + ".blocks.0.attn";
    if (stage > 0 && !s.has(attention + ".qkv.c.weight")) break;
    c.dims.push_back(s.dim(attention + ".proj.c.weight", 0));
    c.depths.push_back(s.count(at + ".blocks", ".attn.attention_biases"));
    c.heads.push_back(s.dim(attention + ".attention_biases", 0));
    head_widths(s, attention, c.heads.back(), false, c.key_dim, c.attn_ratio);
    require(stage == 0 || c.key_dim == key_dim, "levit",
            "stage {} has keys of {} channels and the first {}; one width for all is built", stage, c.key_dim,
            key_dim);
    key_dim = c.key_dim;
    if (stage == 0) continue;
    const std::string down = at + ".downsample.attn_downsample";
    c.down_heads.push_back(s.dim(down + ".attention_biases", 0));
    head_widths(s, down, c.down_heads.back(), true, c.key_dim, c.down_attn_ratio);
    s.ratio(at + ".downsample.mlp.ln1.c.weight", c.down_mlp_ratio);
  }
  s.ratio("stages.0.blocks.0.mlp.ln1.c.weight", c.mlp_ratio);
  c.use_conv = s.at("stages.0.blocks.0.attn.qkv.c.weight").rank() == 4;
  c.num_classes = s.has("head.l.weight") ? s.dim("head.l.weight", 0) : 0;
  if (c.num_classes > 0)
    c.pool = s.has("head_dist.l.weight") ? LevitConfig::Pool::mean_two_heads : LevitConfig::Pool::mean;
  PatchInput input = {.img_size = c.img_size, .patch_size = {c.stem_stride(), c.stem_stride()}};
  input.image_of(s, "levit", s.dim("stages.0.blocks.0.attn.attention_biases", 1));
  c.img_size = input.img_size;
}

std::vector<Variant<LevitConfig>> variants() {
  struct Size {
    const char* name;
    std::vector<std::int64_t> dims, depths, heads;
    std::int64_t key_dim;
    double drop_path = 0.0;
    // timm's own sizes; its s8 has a stem of stride 8.
    LevitConfig::Act act = LevitConfig::Act::hard_swish;
    bool short_stem = false, two_heads = true;
  };
  constexpr auto kSilu = LevitConfig::Act::silu;
  const Size sizes[] = {{"128s", {128, 256, 384}, {2, 3, 4}, {4, 6, 8}, 16},
                        {"128", {128, 256, 384}, {4, 4, 4}, {4, 8, 12}, 16},
                        {"192", {192, 288, 384}, {4, 4, 4}, {3, 5, 6}, 32},
                        {"256", {256, 384, 512}, {4, 4, 4}, {4, 6, 8}, 32},
                        {"384", {384, 512, 768}, {4, 4, 4}, {6, 9, 12}, 32, 0.1},
                        {"384_s8", {384, 512, 768}, {4, 4, 4}, {6, 9, 12}, 32, 0.0, kSilu, true},
                        {"512_s8", {512, 640, 896}, {4, 4, 4}, {8, 10, 14}, 64, 0.0, kSilu, true, false},
                        {"512", {512, 768, 1024}, {4, 4, 4}, {8, 12, 16}, 64, 0.0, kSilu, false, false},
                        {"256d", {256, 384, 512}, {4, 8, 6}, {4, 6, 8}, 32, 0.0, kSilu, false, false},
                        {"512d", {512, 640, 768}, {4, 8, 6}, {8, 10, 12}, 64, 0.0, kSilu, false, false}};
  std::vector<Variant<LevitConfig>> out;
  for (const bool conv : {false, true})
    for (const Size& size : sizes) {
      Variant<LevitConfig>& v = out.emplace_back();
      v.name = fmt::format("levit_{}{}", conv ? "conv_" : "", size.name);
      const std::int64_t C = size.dims[0];
      v.config.stem_chans = {C / 8, C / 4, C / 2, C};
      if (size.short_stem) v.config.stem_chans.erase(v.config.stem_chans.begin());
      v.config.act = size.act;
      if (!size.two_heads) v.config.pool = LevitConfig::Pool::mean;
      v.config.dims = size.dims;
      v.config.depths = size.depths;
      v.config.heads = size.heads;
      v.config.key_dim = size.key_dim;
      v.config.down_heads = {size.dims[0] / size.key_dim, size.dims[1] / size.key_dim};
      v.config.use_conv = conv;
      v.config.drop_path = size.drop_path;
      v.preprocess.crop_pct = size.act == kSilu ? 0.9 : 0.875;
      v.note = "LeViT, Graham et al. 2021: a pyramid with batch norms, and biases of absolute displacements";
      if (size.act == kSilu) v.naming = "timm", v.note += "; SiLU";
      if (!conv) continue;
      v.naming = "timm";
      v.note += "; products as 1x1 convolutions";
    }
  return out;
}

Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"stem.conv{k}.c", "stem.conv{k}.linear"},
      {"stages.{s}.blocks.{b}.attn.qkv.c", "stages.{s}.blocks.{b}.attn.qkv.linear"},
      {"stages.{s}.blocks.{b}.attn.proj.c", "stages.{s}.blocks.{b}.attn.proj.ln.linear"},
      {"stages.{s}.blocks.{b}.attn.proj", "stages.{s}.blocks.{b}.attn.proj.ln"},
      {"stages.{s}.blocks.{b}.mlp.ln{k}.c", "stages.{s}.blocks.{b}.mlp.ln{k}.linear"},
      {"stages.{s}.downsample.mlp.ln{k}.c", "stages.{s}.downsample.mlp.ln{k}.linear"},
      {"stages.{s}.downsample.attn_downsample.kv.c", "stages.{s}.downsample.attn_downsample.kv.linear"},
      {"head.l", "head.linear"},
      {"head_dist.l", "head_dist.linear"}};
  for (const char* part : {"q", "proj"}) {
    const std::string at = fmt::format("stages.{{s}}.downsample.attn_downsample.{}", part);
    out.rules.push_back({(at + ".c").c_str(), (at + ".ln.linear").c_str()});
    out.rules.push_back({at.c_str(), (at + ".ln").c_str()});
  }
  out.preprocess = {{"", R"({"crop_pct":0.9})"}};
  return out;
}

/// The depths of stages 0 and 1 of files whose names count layers on through them: those released first.
std::vector<std::pair<std::int64_t, std::int64_t>> depths_in_names() {
  std::vector<std::pair<std::int64_t, std::int64_t>> out = {{4, 4}, {2, 3}};
  for (std::int64_t a = 1; a <= 4; ++a)
    for (std::int64_t b = 1; b <= 4; ++b)
      if (std::pair pair{a, b}; pair != out[0] && pair != out[1]) out.push_back(pair);
  return out;
}

/// Adds a rule for a layer and what lies below it.
void rule(Renames& out, const std::string& ours, const std::string& theirs) {
  out.rules.push_back({ours.c_str(), theirs.c_str()});
}

void only_for(Renames& out, std::int64_t depth0, std::int64_t depth1) {
  out.of = {fmt::format("depths.0={}", depth0), fmt::format("depths.1={}", depth1)};
}

/// One flat list: attention and MLP by turns, those of a stage's start among them.
Renames official_names(std::int64_t depth0, std::int64_t depth1) {
  Renames out;
  out.naming = "facebookresearch/LeViT";
  only_for(out, depth0, depth1);
  const std::int64_t first[] = {0, 2 * depth0 + 2, 2 * (depth0 + depth1) + 4};  // block of each stage
  for (std::int64_t s = 2; s >= 0; --s) {  // theirs count on: the last stage first
    const std::string stage = fmt::format("stages.{}", s), block = stage + ".blocks.{b}";
    const auto at = [&](std::int64_t more) { return fmt::format("blocks.{{2b+{}}}", first[s] + more); };
    rule(out, block + ".attn.proj", at(0) + ".m.proj.1");
    rule(out, block + ".attn", at(0) + ".m");
    rule(out, block + ".mlp.ln1", at(1) + ".m.0");
    rule(out, block + ".mlp.ln2", at(1) + ".m.2");
    rule(out, block + ".mlp", at(1) + ".m");
    if (s == 0) continue;
    const std::string attention = fmt::format("blocks.{}", first[s] - 2),
                      mlp = fmt::format("blocks.{}.m", first[s] - 1);
    rule(out, stage + ".downsample.mlp.ln1", mlp + ".0");
    rule(out, stage + ".downsample.mlp.ln2", mlp + ".2");
    rule(out, stage + ".downsample.attn_downsample.q", attention + ".q.1");
    rule(out, stage + ".downsample.attn_downsample.proj", attention + ".proj.1");
    rule(out, stage + ".downsample.attn_downsample", attention);
  }
  for (std::int64_t k = 1; k <= 8; ++k)
    rule(out, fmt::format("stem.conv{}", k), fmt::format("patch_embed.{}", 2 * k - 2));
  return out;
}

/// Layers count through a stage, which ends with what halves the grid.
Renames transformers_names(std::int64_t depth0, std::int64_t depth1) {
  Renames out;
  out.naming = "transformers";
  only_for(out, depth0, depth1);
  out.prefix = "levit.";
  const auto product = [&](const std::string& ours, const std::string& theirs) {
    rule(out, ours + ".c", theirs + ".linear");
    rule(out, ours + ".bn", theirs + ".batch_norm");
  };
  const auto layers = [](std::int64_t s) { return fmt::format("encoder.stages.{}.layers.", s); };
  for (const std::int64_t s : {0, 1}) {
    const std::string down = fmt::format("stages.{}.downsample", s + 1),
                      attention = down + ".attn_downsample";
    const std::int64_t layer = 2 * (s == 0 ? depth0 : depth1);
    const std::string at = layers(s) + fmt::format("{}", layer),
                      mlp = layers(s) + fmt::format("{}.module", layer + 1);
    product(attention + ".kv", at + ".keys_values");
    product(attention + ".q", at + ".queries");
    product(attention + ".proj", at + ".projection");
    rule(out, attention + ".attention_biases", at + ".attention_biases");
    product(down + ".mlp.ln1", mlp + ".linear_up");
    product(down + ".mlp.ln2", mlp + ".linear_down");
  }
  const std::string ours = "stages.{s}.blocks.{b}", attention = "encoder.stages.{s}.layers.{2b}.module",
                    mlp = "encoder.stages.{s}.layers.{2b+1}.module";
  product(ours + ".attn.qkv", attention + ".queries_keys_values");
  product(ours + ".attn.proj", attention + ".projection");
  rule(out, ours + ".attn", attention);
  product(ours + ".mlp.ln1", mlp + ".linear_up");
  product(ours + ".mlp.ln2", mlp + ".linear_down");
  rule(out, "stem.conv{k}.c", "patch_embeddings.embedding_layer_{k}.convolution");
  rule(out, "stem.conv{k}.bn", "patch_embeddings.embedding_layer_{k}.batch_norm");
  rule(out, "head.l", "classifier.linear");
  rule(out, "head.bn", "classifier.batch_norm");
  rule(out, "head_dist.l", "classifier_distill.linear");
  rule(out, "head_dist.bn", "classifier_distill.batch_norm");
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = {Renames{}, timm_names()};
  for (const auto& [depth0, depth1] : depths_in_names()) {
    out.push_back(official_names(depth0, depth1));
    out.push_back(transformers_names(depth0, depth1));
  }
  for (Renames& names : out) names.derived = {"*.attention_bias_idxs", "*.ab"};
  return out;
}

/// Its class has three stages of one form, and attends to square pictures in front of the second and third
/// with heads as wide as the first key.
std::string stage_keys(const std::string& target, const std::string& config) {
  const auto c = read_config<LevitConfig>("levit", config);
  const auto list = [](const std::vector<std::int64_t>& x) { return fmt::format("[{}]", fmt::join(x, ",")); };
  require_told(c.dims.size() == 3, target, "depths " + list(c.depths), "it has three stages");
  require_told(c.img_size.rows == c.img_size.columns, target,
               fmt::format("img_size [{},{}]", c.img_size.rows, c.img_size.columns),
               "its pictures are square");
  LevitConfig usual = c;
  usual.stem_chans = usual.down_heads = {};
  require_told(c.stem_chans == usual.stem(), target, "stem_chans " + list(c.stem_chans),
               "they are " + list(usual.stem()) + " there");
  tidy(usual);
  require_told(c.down_heads == usual.down_heads, target, "down_heads " + list(c.down_heads),
               "they are " + list(usual.down_heads) + " there");
  const auto thrice = [&](const char* field, double x) {
    require_told(x == std::floor(x), target, fmt::format("{} {}", field, x), "it is a whole number there");
    return list(std::vector(c.dims.size(), static_cast<std::int64_t>(x)));
  };
  return fmt::format(R"({{"key_dim":{},"attention_ratio":{},"mlp_ratio":{},"patch_size":{}}})",
                     thrice("key_dim", static_cast<double>(c.key_dim)), thrice("attn_ratio", c.attn_ratio),
                     thrice("mlp_ratio", c.mlp_ratio), c.stem_stride());
}

std::vector<HubKeys> hub() {
  return {{.model_type = "levit",
           .keys = {{"image_size", "img_size"},
                    {"num_channels", "in_chans"},
                    {"hidden_sizes", "dims"},
                    {"depths", "depths"},
                    {"num_attention_heads", "heads"},
                    {"kernel_size", "stem_kernel"},
                    {"stride", "stem_stride"},
                    {"padding", "stem_pad"},
                    {"drop_path_rate", "drop_path"}},
           // Told by the tensors; each save of transformers adds an empty entry to down_ops.
           .inert = {"key_dim", "attention_ratio", "mlp_ratio", "down_ops", "patch_size"},
           .written = {.name = "Levit",
                       .constants = R"({"initializer_range":0.02,"drop_path_rate":0})",  // whole there
                       .lacks = {"drop_path_rate"},
                       .says = {"stem_chans", "down_heads", "key_dim", "attn_ratio", "mlp_ratio", "pool"},
                       .more = stage_keys}}};
}

}  // namespace
}  // namespace levit_model

const Family kLevit = family<levit_model::Levit, levit_model::variants, levit_model::renames,
                             levit_model::from_shapes, levit_model::hub>("levit");

}  // namespace locant
