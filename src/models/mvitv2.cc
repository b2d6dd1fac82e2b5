// MViTv2: Li et al. 2022, "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection",
// figures 2 (pooling attention with residual pooling and decomposed relative positions) and 3 (the pyramid).
// Queries, keys and values are pooled by depthwise convolutions that all heads share: a stage's first block
// takes every second query, and keys are fewer still. Names: timm's, but for the shortcut's projection and
// the head; facebookresearch/mvit counts its blocks on through the stages. Detection's backbone in detectron2
// has windows on top, which are not built here.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_layers.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"
#include "position/decomposed.h"
#include "position/shared/token_grid.h"

namespace locant {
namespace mvitv2_model {
namespace {

constexpr const char* kName = "mvitv2";
constexpr std::size_t kMostStages = 8;
const std::vector<std::int64_t> kQueryStrides = {1, 2, 2, 2}, kKeyStrides = {4, 2, 1, 1};

struct Mvitv2Config {
  enum class Pool { mean, cls };
  Pair img_size = {224, 224};  // what the position tables are made for; any size runs
  std::int64_t in_chans = 3, num_classes = 1000;
  Pair patch_kernel = {7, 7}, patch_stride = {4, 4}, patch_pad = {3, 3};
  std::vector<std::int64_t> dims = {96, 192, 384, 768}, depths = {1, 2, 5, 2}, heads = {1, 2, 4, 8};
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  Pair pool_kernel = {3, 3};
  std::vector<std::int64_t> q_strides = kQueryStrides;  // of a stage's first block
  std::vector<std::int64_t> kv_strides = kKeyStrides;   // of all its blocks, in what they are given
  bool expand_in_mlp = false;  // widths grow in a stage's last MLP, not in its first attention
  bool residual_pooling = true, rel_pos = true;
  std::vector<std::string> prefix_tokens = {};  // cls_token, or none
  float norm_eps = 1e-6f;
  Pool pool = Pool::mean;
  double drop_path = 0.0;  // of the last block; rises linearly from 0

  std::size_t stages() const { return dims.size(); }
  std::int64_t prefix() const { return static_cast<std::int64_t>(prefix_tokens.size()); }
  std::int64_t stride(std::size_t stage, std::int64_t block) const {
    return block == 0 ? q_strides[stage] : 1;
  }
  /// Places that position tables are made for; pictures' own are more where strides do not divide sides.
  Grid grid() const {
    return {1, img_size.rows / patch_stride.rows, img_size.columns / patch_stride.columns};
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("patch_kernel", c.patch_kernel, range(1, 255));
  a.field("patch_stride", c.patch_stride, range(1, 255));
  a.field("patch_pad", c.patch_pad, range(0, 127));
  a.field("dims", c.dims, at_least(1));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads, range(1, 256));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("pool_kernel", c.pool_kernel, range(1, 31));
  a.field("q_strides", c.q_strides, range(1, 31));
  a.field("kv_strides", c.kv_strides, range(1, 31));
  a.choice("expand_in", c.expand_in_mlp, {"attention", "mlp"});
  a.field("residual_pooling", c.residual_pooling);
  a.field("rel_pos", c.rel_pos);
  a.field("prefix_tokens", c.prefix_tokens);
  a.field("norm_eps", c.norm_eps);
  a.choice("pool", c.pool, {"mean", "cls"});
  a.field("drop_path", c.drop_path, rate());
  a.only("absolute_pos", false);
  a.only("act", "gelu");
}

void check(const std::string& op, const Mvitv2Config& c) {
  same_length(op, {{"dims", c.dims.size()},
                   {"depths", c.depths.size()},
                   {"heads", c.heads.size()},
                   {"q_strides", c.q_strides.size()},
                   {"kv_strides", c.kv_strides.size()}});
  require(c.stages() >= 1 && c.stages() <= kMostStages, op, "{} stages; 1 to {} were expected", c.stages(),
          kMostStages);
  require(c.prefix_tokens.empty() || c.prefix_tokens == std::vector<std::string>{"cls_token"}, op,
          "prefix_tokens {}; there is [\"cls_token\"], or []", fmt::join(c.prefix_tokens, ", "));
  require(c.pool == Mvitv2Config::Pool::mean || c.prefix() == 1, op,
          "pool cls needs prefix_tokens cls_token");
  require(c.pool_kernel.rows % 2 == 1 && c.pool_kernel.columns % 2 == 1, op,
          "pool_kernel {} x {} must be odd", c.pool_kernel.rows, c.pool_kernel.columns);
  Pair sides = {c.grid().rows, c.grid().columns};
  for (std::size_t s = 0; s < c.stages(); ++s) {
    require(c.dims[s] % c.heads[s] == 0 && c.dims[s] / c.heads[s] <= 256, op,
            "stage {}: width {} and {} heads; heads of at most 256 channels must make it up", s, c.dims[s],
            c.heads[s]);
    require(scaled_width(c.dims[s], c.mlp_ratio) >= 1, op, "stage {}: mlp_ratio {} leaves no channel of {}",
            s, c.mlp_ratio, c.dims[s]);
    sides = {sides.rows / c.q_strides[s], sides.columns / c.q_strides[s]};
    require(sides.rows >= 1 && sides.columns >= 1, op,
            "img_size {} x {}: no token is left in stage {}; make it larger, or strides smaller",
            c.img_size.rows, c.img_size.columns, s);
  }
}

/// Indices of the position tables in one pass: blocks of a stage share them.
class Places {
 public:
  explicit Places(std::int64_t prefix) : prefix_(prefix) {}
  const AxisIndices& of(const Grid& query, const Grid& key) {
    if (indices_.rows == nullptr || !same(query, query_) || !same(key, key_)) {
      indices_ = decomposed_indices(query, key, prefix_);
      query_ = query;
      key_ = key;
    }
    return indices_;
  }

 private:
  static bool same(const Grid& a, const Grid& b) { return a.rows == b.rows && a.columns == b.columns; }
  std::int64_t prefix_;
  Grid query_, key_;
  AxisIndices indices_;
};

/// norm([special | depthwise convolution of the rest]), one kernel and one norm for all heads.
class HeadPool {
 public:
  HeadPool(const Weights& w, const Mvitv2Config& c, const char* of, std::size_t stage, std::int64_t stride)
      : prefix_(c.prefix()), heads_(c.heads[stage]), width_(c.dims[stage] / heads_) {
    const Pair& k = c.pool_kernel;
    const Weights pool = w / fmt::format("pool_{}", of);
    options_ = {.kernel_rows = k.rows,
                .kernel_columns = k.columns,
                .conv = {stride, stride, k.rows / 2, k.columns / 2, width_},
                .bias = false};
    if (w.mode() == WeightMode::inference) {
      PackedSource source = Conv2d::source(pool, width_, width_, options_);
      const std::vector<Var> all(static_cast<std::size_t>(heads_), Var(source.weight));
      source.weight = concat_axis({}, all, 0).value();
      Conv2dOptions of_all = options_.conv;
      of_all.groups = heads_ * width_;
      packed_ = source.depthwise(of_all);
    } else {
      conv_ = Conv2d(pool, width_, width_, options_);
    }
    norm_ = LayerNorm(w / fmt::format("norm_{}", of), width_, c.norm_eps);
  }
  /// x (B, prefix + N, H D) of `grid` -> (B, prefix + N', H D), and its grid.
  Var operator()(const Context& ctx, const Var& x, Grid& grid) const {
    const Grid from = grid;
    const Conv2dOptions& o = options_.conv;
    grid = {1, (from.rows - 1) / o.stride_rows + 1, (from.columns - 1) / o.stride_columns + 1};
    const std::int64_t B = x.dim(0), C = heads_ * width_;
    const Var y =
        packed_.defined()
            ? packed_on_grid(kName, packed_, x, from, prefix_)
            : on_grid(ctx, kName, x, from, prefix_, [&](const Var& images) {
                const Var z = conv_(ctx, reshape(ctx, images, {B * heads_, width_, from.rows, from.columns}));
                return reshape(ctx, z, {B, C, grid.rows, grid.columns});
              });
    const std::int64_t N = y.dim(1);
    return reshape(ctx, norm_(ctx, reshape(ctx, y, {B, N, heads_, width_})), {B, N, C});
  }

 private:
  std::int64_t prefix_, heads_, width_;
  Conv2d::Options options_;
  Conv2d conv_;
  PackedDepthwise packed_;  // of inference: the kernel once for each head
  LayerNorm norm_;
};

/// proj(softmax(q k^T / sqrt(D) + q.Rh + q.Rw) v + q) of pooled q, k and v.
class PooledAttention {
 public:
  /// `grid`: what its tables are made for, of the tokens that come in.
  PooledAttention(const Weights& w, const Mvitv2Config& c, std::size_t stage, std::int64_t in,
                  std::int64_t stride, const Grid& grid)
      : width_(c.dims[stage]),
        residual_(c.residual_pooling),
        qkv_(w / "qkv", in, 3 * width_, {.bias = c.qkv_bias}),
        proj_(w / "proj", width_, width_),
        pool_q_(w, c, "q", stage, stride),
        pool_k_(w, c, "k", stage, c.kv_strides[stage]),
        pool_v_(w, c, "v", stage, c.kv_strides[stage]) {
    options_.heads = c.heads[stage];
    if (!c.rel_pos) return;
    const auto table = [&](const char* name, std::int64_t side) {
      const std::int64_t rows = decomposed_rows(side / stride, side / c.kv_strides[stage]);
      return w.get(name, {rows, width_ / options_.heads}, Init::trunc_normal(0.02f));
    };
    tables_.rows = table(Decomposed::kRows, grid.rows);
    tables_.columns = table(Decomposed::kColumns, grid.columns);
  }
  /// x (B, prefix + N, in) of `grid` -> (B, prefix + N', C), plus skip where that is defined, and its grid.
  Var operator()(const Context& ctx, const Var& x, Grid& grid, Places& places, const Var& skip) const {
    const Var qkv = qkv_(ctx, x);
    const auto part = [&](std::int64_t t) { return slice_axis(ctx, qkv, 2, t * width_, (t + 1) * width_); };
    Grid keys = grid, values = grid;
    const Var q = pool_q_(ctx, part(0), grid);
    const Var k = pool_k_(ctx, part(1), keys), v = pool_v_(ctx, part(2), values);
    AttentionOptions options = options_;
    if (tables_.rows.defined()) {
      const Decomposed tables{.frames = {},
                              .rows = resize_decomposed(ctx, tables_.rows, grid.rows, keys.rows),
                              .columns = resize_decomposed(ctx, tables_.columns, grid.columns, keys.columns)};
      options.terms = {decomposed_term(ctx, tables, q, options.heads, places.of(grid, keys))};
    }
    const Var attended = attention(ctx, q, k, v, options);
    return proj_(ctx, residual_ ? add(ctx, attended, q) : attended, Activation::none, skip);
  }

 private:
  std::int64_t width_;
  bool residual_;
  Linear qkv_, proj_;
  HeadPool pool_q_, pool_k_, pool_v_;
  Decomposed tables_;
  AttentionOptions options_;
};

/// s + attention(norm1 x), then t + mlp(norm2 x). s: x, or proj(norm1 x) where the attention widens, its
/// largest of each stride; t: the sum before, or proj(norm2 x) where the MLP widens.
class Block {
 public:
  Block(const Weights& w, const Mvitv2Config& c, std::size_t stage, std::int64_t block, const Grid& grid,
        float drop_path)
      : prefix_(c.prefix()),
        stride_(c.stride(stage, block)),
        in_mlp_(c.expand_in_mlp),
        norm1_(w / "norm1", in(c, stage, block), c.norm_eps),
        attn_(w / "attn", c, stage, in(c, stage, block), stride_, grid),
        norm2_(w / "norm2", c.dims[stage], c.norm_eps),
        residual_(drop_path) {
    const std::int64_t C = c.dims[stage], hidden = scaled_width(C, c.mlp_ratio);
    const bool last = block + 1 == c.depths[stage] && stage + 1 < c.stages();
    const std::int64_t out = in_mlp_ && last ? c.dims[stage + 1] : C, from = in(c, stage, block);
    fc1_ = Linear(w / "mlp" / "fc1", C, hidden);
    fc2_ = Linear(w / "mlp" / "fc2", hidden, out);
    if (from != out) shortcut_ = Linear(w / "proj", from, out);
  }
  Var operator()(const Context& ctx, const Var& x, Grid& grid, Places& places) const {
    const Var y = norm1_(ctx, x);
    const Var base = pooled(ctx, shortcut_.defined() && !in_mlp_ ? shortcut_(ctx, y) : x, grid);
    const Var sum = residual_(ctx, base, [&](const Var& skip) { return attn_(ctx, y, grid, places, skip); });
    const Var z = norm2_(ctx, sum);
    return residual_(ctx, shortcut_.defined() && in_mlp_ ? shortcut_(ctx, z) : sum, [&](const Var& skip) {
      return fc2_(ctx, fc1_(ctx, z, Activation::gelu), Activation::none, skip);
    });
  }

 private:
  /// Channels that come in: those of the stage before where this attention widens.
  static std::int64_t in(const Mvitv2Config& c, std::size_t stage, std::int64_t block) {
    return !c.expand_in_mlp && block == 0 && stage > 0 ? c.dims[stage - 1] : c.dims[stage];
  }
  Var pooled(const Context& ctx, const Var& x, const Grid& grid) const {
    if (stride_ == 1) return x;
    const std::int64_t kernel = stride_ + 1;
    return on_grid(ctx, kName, x, grid, prefix_, [&](const Var& images) {
      return max_pool2d(ctx, images, {kernel, kernel, stride_, stride_, kernel / 2, kernel / 2});
    });
  }

  std::int64_t prefix_, stride_;
  bool in_mlp_;
  LayerNorm norm1_;
  PooledAttention attn_;
  LayerNorm norm2_;
  Linear fc1_, fc2_, shortcut_;
  Residual residual_;
};

class Mvitv2 final : public ImageModelOf<Mvitv2Config> {
 public:
  Mvitv2(const Family& family, Mvitv2Config config, const Weights& w)
      : ImageModelOf(family, std::move(config)) {
    const Mvitv2Config& c = this->c();
    if (c.prefix() > 0) prefix_.add(w, "cls_token", 1, c.dims[0], Init::trunc_normal(0.02f));
    patch_embed_ = Conv2d(
        w / "patch_embed" / "proj", c.in_chans, c.dims[0],
        {.kernel_rows = c.patch_kernel.rows,
         .kernel_columns = c.patch_kernel.columns,
         .conv = {c.patch_stride.rows, c.patch_stride.columns, c.patch_pad.rows, c.patch_pad.columns}});
    const std::vector<float> rates = drop_rates(std::reduce(c.depths.begin(), c.depths.end()), c.drop_path);
    auto rate = rates.begin();
    Grid grid = c.grid();
    for (std::size_t s = 0; s < c.stages(); ++s) {
      std::vector<Block>& blocks = stages_.emplace_back();
      for (std::int64_t b = 0; b < c.depths[s]; ++b) {
        blocks.emplace_back(w / "stages" / static_cast<std::int64_t>(s) / "blocks" / b, c, s, b, grid,
                            *rate++);
        grid = {1, grid.rows / c.stride(s, b), grid.columns / c.stride(s, b)};
      }
    }
    norm_ = LayerNorm(w / "norm", c.dims.back(), c.norm_eps);
    head_ = Head(w / "head", c.dims.back(), c.num_classes);
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, pooled(ctx, encode(ctx, images, nullptr)));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = pooled(ctx, encode(ctx, images, &out.levels));
    return out;
  }

 private:
  using Level = Features::Level;
  Var pooled(const Context& ctx, const Var& x) const {
    return c().pool == Mvitv2Config::Pool::cls ? Prefix::token(ctx, x, 0) : mean_pool(ctx, x, prefix_.size());
  }
  /// The last stage's tokens behind the special ones, normed. `levels`, when given, gets every stage's.
  Var encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const;

  Prefix prefix_;
  Conv2d patch_embed_;
  std::vector<std::vector<Block>> stages_;
  LayerNorm norm_;
  Head head_;
};

Var Mvitv2::encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const {
  const Mvitv2Config& c = this->c();
  require_images(op(), images, c.in_chans);
  const Var patches = patch_embed_(ctx, images);
  Grid grid{1, patches.dim(2), patches.dim(3)};
  Var x = ctx.shown("patch_embed", images_to_tokens(ctx, patches));
  x = prefix_.before(ctx, x);
  Places places(prefix_.size());
  std::int64_t stride = c.patch_stride.rows;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    for (std::size_t b = 0; b < stages_[s].size(); ++b) {
      x = stages_[s][b](ctx, x, grid, places);
      ctx.show([=] { return fmt::format("stages.{}.blocks.{}", s, b); }, x);
    }
    ctx.show([=] { return fmt::format("stages.{}", s); }, x);
    stride *= c.q_strides[s];
    if (s + 1 == stages_.size()) x = ctx.shown("norm", norm_(ctx, x));
    if (levels != nullptr) levels->push_back({prefix_.cut(ctx, x), grid, stride});
  }
  return x;
}

/// Sides of what the first block is given, by its tables: their longest axis is the queries' or the keys'.
Pair first_sides(const NamedShapes& s, const Mvitv2Config& c) {
  const std::int64_t stride = std::min(c.q_strides[0], c.kv_strides[0]);
  const auto side = [&](const char* table) {
    return (s.dim(fmt::format("stages.0.blocks.0.attn.{}", table), 0) + 1) / 2 * stride;
  };
  return {side(Decomposed::kRows), side(Decomposed::kColumns)};
}

/// Blocks of a stage: of one width, where names count on through the stages.
std::int64_t blocks_of(const NamedShapes& s, std::size_t stage, std::int64_t width) {
  std::int64_t b = 0;
  const auto proj = [&] { return fmt::format("stages.{}.blocks.{}.attn.proj.weight", stage, b); };
  while (s.has(proj()) && s.dim(proj(), 0) == width) ++b;
  return b;
}

void from_shapes(const NamedShapes& s, Mvitv2Config& c) {
  const auto first = [](std::size_t stage) { return fmt::format("stages.{}.blocks.0.", stage); };
  c.pool_kernel = {s.dim(first(0) + "attn.pool_q.weight", 2), s.dim(first(0) + "attn.pool_q.weight", 3)};
  c.in_chans = s.dim("patch_embed.proj.weight", 1);
  c.patch_kernel = {s.dim("patch_embed.proj.weight", 2), s.dim("patch_embed.proj.weight", 3)};
  s.assume("patch_stride", c.patch_stride);
  s.assume("patch_pad", c.patch_pad, Pair{c.patch_kernel.rows / 2, c.patch_kernel.columns / 2});
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  c.qkv_bias = s.has(first(0) + "attn.qkv.bias");
  c.rel_pos = s.has(first(0) + "attn.rel_pos_h");
  c.dims = c.depths = c.heads = {};
  do {
    const std::string at = first(c.stages());
    const std::int64_t C = s.dim(at + "attn.proj.weight", 0), D = s.dim(at + "attn.pool_q.weight", 0);
    require(D >= 1 && C % D == 0, kName, "{}attn: heads of {} channels do not make up {}", at, D, C);
    c.depths.push_back(blocks_of(s, c.stages(), C));
    c.heads.push_back(C / D);
    c.dims.push_back(C);
  } while (c.stages() < kMostStages && s.has(first(c.stages()) + "attn.proj.weight"));
  if (c.stages() > 1 && c.dims[1] != c.dims[0]) c.expand_in_mlp = !s.has(first(1) + "proj.weight");
  s.ratio(first(0) + "mlp.fc1.weight", c.mlp_ratio);
  const bool had = c.prefix() > 0, has = s.has("cls_token");
  c.prefix_tokens = has ? std::vector<std::string>{"cls_token"} : std::vector<std::string>{};
  if (!has || had != has) c.pool = has ? Mvitv2Config::Pool::cls : Mvitv2Config::Pool::mean;
  const auto strides = [&](const char* key, std::vector<std::int64_t>& value, std::vector<std::int64_t> usual,
                           std::int64_t further) {
    usual.resize(c.stages(), further);
    s.assume(key, value, usual, value.size() == c.stages());
  };
  strides("q_strides", c.q_strides, kQueryStrides, 2);
  strides("kv_strides", c.kv_strides, kKeyStrides, 1);
  s.assume("norm_eps", c.norm_eps);
  if (!c.rel_pos) {
    s.assume("img_size", c.img_size);
    return;
  }
  const Pair sides = first_sides(s, c);
  if (!s.told("img_size") || c.grid().rows != sides.rows || c.grid().columns != sides.columns)
    c.img_size = {sides.rows * c.patch_stride.rows, sides.columns * c.patch_stride.columns};
}

std::vector<Variant<Mvitv2Config>> variants() {
  struct Size {
    const char* name;
    std::int64_t dim, heads, classes;
    std::vector<std::int64_t> depths;
    bool cls, in_mlp;
    double drop_path;  // of the repository's training
  };
  const Size sizes[] = {{"tiny", 96, 1, 1000, {1, 2, 5, 2}, false, false, 0.1},
                        {"small", 96, 1, 1000, {1, 2, 11, 2}, false, false, 0.1},
                        {"base", 96, 1, 1000, {2, 3, 16, 3}, false, false, 0.3},
                        {"large", 144, 2, 1000, {2, 6, 36, 4}, false, true, 0.5},
                        {"small_cls", 96, 1, 1000, {1, 2, 11, 2}, true, false, 0.0},
                        {"base_cls", 96, 1, 19168, {2, 3, 16, 3}, true, false, 0.0},
                        {"large_cls", 144, 2, 19168, {2, 6, 36, 4}, true, false, 0.0},
                        {"huge_cls", 192, 3, 19168, {4, 8, 60, 8}, true, false, 0.0}};
  std::vector<Variant<Mvitv2Config>> out;
  for (const Size& size : sizes) {
    Variant<Mvitv2Config>& v = out.emplace_back();
    v.name = fmt::format("mvitv2_{}", size.name);
    v.config.num_classes = size.classes;
    v.config.depths = size.depths;
    for (std::size_t s = 0; s < size.depths.size(); ++s) {
      v.config.dims[s] = size.dim << s;
      v.config.heads[s] = size.heads << s;
    }
    v.config.expand_in_mlp = size.in_mlp;
    v.config.drop_path = size.drop_path;
    if (size.cls) {
      v.config.prefix_tokens = {"cls_token"};
      v.config.pool = Mvitv2Config::Pool::cls;
    }
    v.preprocess.crop_pct = 0.875;
    v.note = "MViTv2, Li et al. 2022: pooling attention with decomposed relative positions";
    if (size.classes > 1000) v.note += "; the classes of ImageNet-22k's winter release";
  }
  return out;
}

/// Depths of files whose names count blocks on through the stages.
const std::vector<std::vector<std::int64_t>> kDepthsInNames = {
    {1, 2, 5, 2}, {1, 2, 11, 2}, {2, 3, 16, 3}, {2, 6, 36, 4}, {4, 8, 60, 8}, {1, 1, 1, 1}, {1, 2, 1, 1}};

Renames official_names(const std::vector<std::int64_t>& depths) {
  Renames out;
  out.naming = "facebookresearch/mvit";
  std::int64_t first = std::reduce(depths.begin(), depths.end());
  for (std::size_t s = depths.size(); s-- > 0;) {  // theirs count on: the last stage first
    out.of.push_back(fmt::format("depths.{}={}", s, depths[s]));
    first -= depths[s];
    out.rules.push_back(
        {fmt::format("stages.{}.blocks.{{b}}", s).c_str(), fmt::format("blocks.{{b+{}}}", first).c_str()});
  }
  out.rules.push_back({"head", "head.projection"});
  return out;
}

Renames timm_names(const char* expand_in, const char* shortcut) {
  Renames out;
  out.naming = "timm";
  out.of = {fmt::format("expand_in={}", expand_in)};
  out.rules = {{"stages.{s}.blocks.{b}.proj", shortcut}, {"head", "head.fc"}};
  out.preprocess = {{"", R"({"crop_pct":0.9})"}};
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = {Renames{}, timm_names("attention", "stages.{s}.blocks.{b}.shortcut_proj_attn"),
                              timm_names("mlp", "stages.{s}.blocks.{b}.shortcut_proj_mlp")};
  for (const std::vector<std::int64_t>& depths : kDepthsInNames) out.push_back(official_names(depths));
  return out;
}

}  // namespace
}  // namespace mvitv2_model

const Family kMvitv2 =
    family<mvitv2_model::Mvitv2, mvitv2_model::variants, mvitv2_model::renames, mvitv2_model::from_shapes>(
        "mvitv2");

}  // namespace locant
