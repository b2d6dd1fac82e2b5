// ViTDet's backbone: Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object Detection",
// figures 1 and 2 (a plain transformer, and a pyramid of its last map alone), section 3 (windows, and a few
// blocks that attend over the whole grid or convolve). Names: detectron2's without `net.`; Hugging Face has
// the backbone alone. The block is that of Segment Anything's image encoder, which is this one with another
// neck (sam_image_encoder.cc).
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "models/sam_block.h"
#include "nn/conv_layers.h"
#include "ops/conv_transpose2d.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"

namespace locant {
namespace vitdet_model {
namespace {

constexpr const char* kName = "vitdet";
constexpr float kMapNormEps = 1e-6f;  // of norms over the channels of maps

struct VitdetConfig {
  Pair img_size = {1024, 1024};  // what the relative positions are made for; any multiple of the patch runs
  Pair pretrain_size = {224, 224};  // what the position table is made for
  Pair patch_size = {16, 16};
  std::int64_t in_chans = 3, dim = 768, depth = 12, heads = 12;
  Pair window = {14, 14};
  std::vector<std::int64_t> window_blocks = {0, 1, 3, 4, 6, 7, 9, 10};  // the others see the whole grid
  std::vector<std::int64_t> residual_blocks = {};                       // followed by three convolutions
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  float norm_eps = 1e-6f;
  bool absolute_pos = true, rel_pos = true;
  std::int64_t pyramid_chans = 256;  // 0: no pyramid
  double drop_path = 0.0;            // of the last block; rises linearly from 0

  PatchInput input() const {
    return {.img_size = img_size, .patch_size = patch_size, .in_chans = in_chans, .num_classes = 0};
  }
  Grid grid() const { return input().grid(); }
  Grid pretrain_grid() const { return input().grid(pretrain_size); }
  static bool holds(const std::vector<std::int64_t>& blocks, std::int64_t block) {
    return std::find(blocks.begin(), blocks.end(), block) != blocks.end();
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("pretrain_size", c.pretrain_size, at_least(1));
  a.field("patch_size", c.patch_size, at_least(1));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("window", c.window, range(0, 256));
  a.field("window_blocks", c.window_blocks, range(0, static_cast<double>(c.depth - 1)));
  a.field("residual_blocks", c.residual_blocks, range(0, static_cast<double>(c.depth - 1)));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("absolute_pos", c.absolute_pos);
  a.field("rel_pos", c.rel_pos);
  a.field("pyramid_chans", c.pyramid_chans);
  a.field("drop_path", c.drop_path, rate());
  a.only("act", "gelu");
}

void check(const std::string& op, const VitdetConfig& c) {
  require(c.dim / c.heads <= 256, op, "dim {} and {} heads: a head has at most 256 channels", c.dim, c.heads);
  require(c.grid().tokens() > 0 && c.pretrain_grid().tokens() > 0, op,
          "img_size {}x{}, pretrain_size {}x{} and patch_size {}x{}: a picture holds one patch at least",
          c.img_size.rows, c.img_size.columns, c.pretrain_size.rows, c.pretrain_size.columns,
          c.patch_size.rows, c.patch_size.columns);
  require(c.window_blocks.empty() || (c.window.rows > 0 && c.window.columns > 0), op,
          "{} window_blocks and a window of {} x {}", c.window_blocks.size(), c.window.rows,
          c.window.columns);
  require(scaled_width(c.dim, c.mlp_ratio) > 0, op, "mlp_ratio {} leaves dim {} no hidden channel",
          c.mlp_ratio, c.dim);
  require(c.residual_blocks.empty() || c.dim >= 2, op, "residual_blocks halve dim {}", c.dim);
  require(c.pyramid_chans == 0 || c.dim % 4 == 0, op, "the pyramid quarters dim {}, which 4 must divide",
          c.dim);
}

/// norm(convolution without bias), over the channels of each place.
class NormedConv {
 public:
  /// detectron2 keeps the norm within the convolution, but not in the bottleneck: conv1, norm1.
  NormedConv(const Weights& conv, const Weights& norm, std::int64_t in, std::int64_t out, std::int64_t kernel,
             std::optional<Init> conv_init = std::nullopt, const Init& norm_init = Init::ones())
      : norm_(norm, out, kMapNormEps, norm_init) {
    Conv2d::Options options = Conv2d::square(kernel, 1, kernel / 2, 1, false);
    options.weight_init = conv_init;
    conv_ = Conv2d(conv, in, out, options);
  }
  /// images (B, in, H, W) -> (B, out, H, W).
  Var operator()(const Context& ctx, const Var& images) const {
    const Var y = conv_(ctx, images);
    return tokens_to_images(ctx, norm_(ctx, images_to_tokens(ctx, y)), y.dim(2), y.dim(3));
  }

 private:
  Conv2d conv_;
  LayerNorm norm_;
};

/// x + norm3(conv3(gelu(norm2(conv2(gelu(norm1(conv1 x))))))): half the channels between; starts as nothing.
class Bottleneck {
 public:
  Bottleneck(const Weights& w, std::int64_t width)
      : first_(w / "conv1", w / "norm1", width, width / 2, 1, fan_out_init(width / 2)),
        second_(w / "conv2", w / "norm2", width / 2, width / 2, 3, fan_out_init(9 * (width / 2))),
        third_(w / "conv3", w / "norm3", width / 2, width, 1, fan_out_init(width), Init::zeros()) {}
  /// x (B, N, C) of the grid.
  Var operator()(const Context& ctx, const Var& x, const Grid& grid) const {
    Var y = gelu(ctx, first_(ctx, tokens_to_images(ctx, x, grid.rows, grid.columns)));
    y = third_(ctx, gelu(ctx, second_(ctx, y)));
    return add(ctx, x, images_to_tokens(ctx, y));
  }

 private:
  NormedConv first_, second_, third_;
};

/// Twice the sides: a transposed convolution of 2 x 2 with that stride.
class Doubling {
 public:
  Doubling(const Weights& w, std::int64_t in, std::int64_t out) {
    const Init init = Init::fan_in(4 * out);  // PyTorch counts its fan-in over the outputs
    weight_ = w.get("weight", {in, out, 2, 2}, init);
    bias_ = w.get("bias", {out}, init);
  }
  Var operator()(const Context& ctx, const Var& images) const {
    return conv_transpose2d(ctx, images, weight_, bias_, {.stride_rows = 2, .stride_columns = 2});
  }

 private:
  Var weight_, bias_;
};

/// One map of the pyramid, of stride 2^s of the map's 16: `simfp_s`, whose parts count on.
class PyramidLevel {
 public:
  PyramidLevel(const Weights& w, const VitdetConfig& c, int s) : path_(w.path()) {
    std::int64_t width = c.dim;
    int at = 0;
    if (s <= 3) doubling_.emplace(w / at++, width, width / 2), width /= 2;
    if (s == 2) {
      norm_ = LayerNorm(w / at, width, kMapNormEps);
      again_.emplace(w / (at + 2), width, width / 2);
      width /= 2;
      at += 3;
    }
    halves_ = s == 5;
    if (halves_) ++at;
    reduce_.emplace(w / at, w / at / "norm", width, c.pyramid_chans, 1);
    smooth_.emplace(w / (at + 1), w / (at + 1) / "norm", c.pyramid_chans, c.pyramid_chans, 3);
  }
  /// map (B, C, H, W) -> (B, chans, H', W').
  Var operator()(const Context& ctx, const Var& map) const {
    Var x = map;
    if (doubling_) x = (*doubling_)(ctx, x);
    if (again_) {
      const Var y = gelu(ctx, norm_(ctx, images_to_tokens(ctx, x)));
      x = (*again_)(ctx, tokens_to_images(ctx, y, x.dim(2), x.dim(3)));
    }
    if (halves_) x = max_pool2d(ctx, x, {});
    x = (*smooth_)(ctx, (*reduce_)(ctx, x));
    ctx.show([&] { return path_; }, x);
    return x;
  }

 private:
  std::string path_;
  std::optional<Doubling> doubling_, again_;
  LayerNorm norm_;
  bool halves_ = false;
  std::optional<NormedConv> reduce_, smooth_;
};

class Vitdet final : public ModelOf<VitdetConfig> {
 public:
  Vitdet(const Family& family, VitdetConfig config, const Weights& w);
  std::vector<Port> inputs() const override { return {{"images", "B C H W", "normalised pictures"}}; }
  std::vector<Port> outputs() const override {
    if (pyramid_.empty()) return {{"last_feat", "B C H W", "behind the last block, not normed"}};
    std::vector<Port> out;
    for (int s = kFinest; s <= kCoarsest; ++s)
      out.push_back({fmt::format("p{}", s), "B C H W", fmt::format("stride {}", 1 << s)});
    return out;
  }
  Features features(const Context& ctx, const Var& images) const override;

 protected:
  Values compute(const Context& ctx, const Values& in) const override;

 private:
  static constexpr int kFinest = 2, kCoarsest = 6;
  /// Behind the last block (B, N, C).
  Var encode(const Context& ctx, const Var& images, const Grid& grid) const;
  std::vector<Var> pyramid(const Context& ctx, const Var& tokens, const Grid& grid) const;

  LearnedAbsolute position_;
  PatchEmbed patch_embed_;
  std::vector<SamBlock> blocks_;
  std::vector<std::optional<Bottleneck>> residuals_;
  std::vector<PyramidLevel> pyramid_;
  WindowMaps maps_;
};

Vitdet::Vitdet(const Family& family, VitdetConfig config, const Weights& w)
    : ModelOf(family, std::move(config)) {
  const VitdetConfig& c = this->c();
  patch_embed_ = c.input().patch_embed(w / "patch_embed" / "proj", c.dim);
  // Made with a class token, whose row nothing reads.
  if (c.absolute_pos) position_ = PositionTable{c.pretrain_grid(), 1, c.dim, "bicubic"}(w);
  const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
  for (std::int64_t b = 0; b < c.depth; ++b) {
    const Weights at = w / "blocks" / b;
    blocks_.emplace_back(at, SamBlock::Options{.dim = c.dim,
                                               .heads = c.heads,
                                               .hidden = scaled_width(c.dim, c.mlp_ratio),
                                               .window = {c.window.rows, c.window.columns},
                                               .grid = c.grid(),
                                               .global = !c.holds(c.window_blocks, b),
                                               .norm_eps = c.norm_eps,
                                               .qkv_bias = c.qkv_bias,
                                               .rel_pos = c.rel_pos,
                                               .drop_path = rates[static_cast<std::size_t>(b)],
                                               .fc1 = "fc1",
                                               .fc2 = "fc2"});
    std::optional<Bottleneck>& residual = residuals_.emplace_back();
    if (c.holds(c.residual_blocks, b)) residual.emplace(at / "residual", c.dim);
  }
  if (c.pyramid_chans > 0)
    for (int s = kFinest; s < kCoarsest; ++s) pyramid_.emplace_back(w / fmt::format("simfp_{}", s), c, s);
}

Var Vitdet::encode(const Context& ctx, const Var& images, const Grid& grid) const {
  const auto show = [&](const auto& path, const Var& tokens) {
    if (ctx.probe != nullptr) ctx.show(path, tokens_to_images({}, tokens, grid.rows, grid.columns));
  };
  Var x = patch_embed_(ctx, images);
  if (c().absolute_pos) {
    const Var table = position_.table(ctx, grid.rows, grid.columns);
    x = add(ctx, x, reshape(ctx, select_rows(ctx, table, 1, table.dim(1)), {grid.tokens(), c().dim}));
  }
  show([] { return "patch_embed"; }, x);
  const SamPass pass = SamPass::over(grid, {c().window.rows, c().window.columns}, maps_);
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    x = blocks_[b](ctx, std::move(x), pass);
    if (residuals_[b]) x = (*residuals_[b])(ctx, x, grid);
    show([=] { return fmt::format("blocks.{}", b); }, x);
  }
  return x;
}

/// p2 to p6; the last has every second place of the one before.
std::vector<Var> Vitdet::pyramid(const Context& ctx, const Var& tokens, const Grid& grid) const {
  const Var map = tokens_to_images(ctx, tokens, grid.rows, grid.columns);
  std::vector<Var> out;
  for (const PyramidLevel& level : pyramid_) out.push_back(level(ctx, map));
  out.push_back(max_pool2d(ctx, out.back(), {.kernel_rows = 1, .kernel_columns = 1}));
  return out;
}

Values Vitdet::compute(const Context& ctx, const Values& in) const {
  const Var& images = in.at("images");
  const Grid grid = c().input().grid(op(), images);
  const Var x = encode(ctx, images, grid);
  if (pyramid_.empty()) return {{"last_feat", tokens_to_images(ctx, x, grid.rows, grid.columns)}};
  require(grid.rows >= 2 && grid.columns >= 2, op(),
          "a picture of {} x {} patches; the pyramid halves them, so that 2 x 2 are the least", grid.rows,
          grid.columns);
  Values out;
  int s = kFinest;
  for (const Var& map : pyramid(ctx, x, grid)) out.set(fmt::format("p{}", s++), map);
  return out;
}

Features Vitdet::features(const Context& ctx, const Var& images) const {
  const Grid grid = c().input().grid(op(), images);
  Features out;
  if (pyramid_.empty()) {
    out.levels = {{encode(ctx, images, grid), grid, c().patch_size.rows}};
  } else {
    const Values maps = compute(ctx, {{"images", images}});
    for (int s = kFinest; s < kCoarsest; ++s) {  // strides 4 to 32 of patches of 16
      const Var& map = maps.at(fmt::format("p{}", s));
      out.levels.push_back(
          {images_to_tokens(ctx, map), {1, map.dim(2), map.dim(3)}, c().patch_size.rows * (1 << s) / 16});
    }
  }
  out.cls = mean_pool(ctx, out.levels.back().tokens);
  return out;
}

/// All but the last block of each quarter: those of every release.
std::vector<std::int64_t> usual_window_blocks(std::int64_t depth) {
  std::vector<std::int64_t> out;
  for (std::int64_t b = 0; b < depth; ++b) {
    bool global = false;
    for (std::int64_t n = 1; n <= 4; ++n) global = global || b == depth * n / 4 - 1;
    if (!global) out.push_back(b);
  }
  return out;
}

/// A table's length tells what its block attends over: the grid, or a window.
void blocks_from_tables(const NamedShapes& s, VitdetConfig& c) {
  std::vector<Pair> sides;
  Pair grid, window;
  for (std::int64_t b = 0; b < c.depth; ++b) {
    const std::string attn = fmt::format("blocks.{}.attn.", b);
    const Pair side = {(s.dim(attn + Decomposed::kRows, 0) + 1) / 2,
                       (s.dim(attn + Decomposed::kColumns, 0) + 1) / 2};
    sides.push_back(side);
    if (side.rows * side.columns > grid.rows * grid.columns) grid = side;
  }
  std::vector<std::int64_t> shorter;
  for (std::int64_t b = 0; b < c.depth; ++b)
    if (const Pair& side = sides[static_cast<std::size_t>(b)]; !(side == grid)) {
      shorter.push_back(b);
      window = side;
    }
  if (!s.told("img_size") || c.grid().rows != grid.rows || c.grid().columns != grid.columns)
    c.img_size = {grid.rows * c.patch_size.rows, grid.columns * c.patch_size.columns};
  if (!shorter.empty()) {
    c.window_blocks = shorter;
    c.window = window;
    return;
  }
  // Lengths are all alike: no block has windows, or they are as large as the grid.
  s.assume("window_blocks", c.window_blocks, std::vector<std::int64_t>{});
  if (!c.window_blocks.empty()) c.window = grid;
}

void from_shapes(const NamedShapes& s, VitdetConfig& c) {
  c.dim = s.dim("blocks.0.mlp.fc2.weight", 0);
  c.patch_size = {s.dim("patch_embed.proj.weight", 2), s.dim("patch_embed.proj.weight", 3)};
  c.in_chans = s.dim("patch_embed.proj.weight", 1);
  c.depth = s.count("blocks", ".norm1.weight");
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  c.pyramid_chans = s.has("simfp_4.0.weight") ? s.dim("simfp_4.0.weight", 0) : 0;
  c.residual_blocks.clear();
  for (std::int64_t b = 0; b < c.depth; ++b)
    if (s.has(fmt::format("blocks.{}.residual.conv1.weight", b))) c.residual_blocks.push_back(b);
  c.absolute_pos = s.has("pos_embed");
  if (c.absolute_pos) {
    PatchInput input = c.input();
    input.img_size = c.pretrain_size;
    const std::int64_t patches = s.dim("pos_embed", 1) - 1;
    if (!s.told("pretrain_size") || input.grid().tokens() != patches) {
      const Pair square = NamedShapes::square(patches);
      require(square.rows > 0, kName,
              "a table of {} patches is no square grid, so that pretrain_size must be told", patches);
      c.pretrain_size = {square.rows * c.patch_size.rows, square.columns * c.patch_size.columns};
    }
  }
  const std::string table = fmt::format("blocks.0.attn.{}", Decomposed::kRows);
  c.rel_pos = s.has(table);
  s.assume("norm_eps", c.norm_eps);
  if (c.rel_pos) {
    const std::int64_t D = s.dim(table, 1);
    require(D > 0 && c.dim % D == 0, kName, "tables of width {} for {} channels", D, c.dim);
    c.heads = c.dim / D;
    blocks_from_tables(s, c);
    return;
  }
  assume_heads(kName, s, c.dim, c.heads);
  s.assume("img_size", c.img_size);
  s.assume("window", c.window);
  const bool fits = std::all_of(c.window_blocks.begin(), c.window_blocks.end(),
                                [&](std::int64_t block) { return block < c.depth; });
  s.assume("window_blocks", c.window_blocks, usual_window_blocks(c.depth), fits);
}

std::vector<Variant<VitdetConfig>> variants() {
  struct Size {
    const char* name;
    std::int64_t dim, depth, heads;
    double drop_path;
  };
  std::vector<Variant<VitdetConfig>> out;
  for (const Size& size :
       {Size{"b", 768, 12, 12, 0.1}, Size{"l", 1024, 24, 16, 0.4}, Size{"h", 1280, 32, 16, 0.5}}) {
    Variant<VitdetConfig>& v = out.emplace_back();
    v.name = fmt::format("vitdet_{}", size.name);
    v.config.dim = size.dim;
    v.config.depth = size.depth;
    v.config.heads = size.heads;
    v.config.window_blocks = usual_window_blocks(size.depth);
    v.config.drop_path = size.drop_path;
    v.preprocess.rows = v.preprocess.columns = 1024;
    v.preprocess.mode = Preprocess::Mode::squash;
    v.preprocess.crop_pct = 1.0;
    v.note = "ViTDet, Li et al. 2022: a detector's backbone and simple pyramid; maps, no classes";
    v.naming = "detectron2";
  }
  return out;
}

std::string square_tables(const std::string& target, const std::string& config) {
  const auto c = read_config<VitdetConfig>(kName, config);
  const Grid grid = c.pretrain_grid();
  require_told(!c.absolute_pos || grid.rows == grid.columns, target,
               fmt::format("pretrain_size [{},{}]", c.pretrain_size.rows, c.pretrain_size.columns),
               "its position table is of a square");
  return "{}";
}

std::vector<HubKeys> hub() {
  return {{.model_type = "vitdet",
           .keys = transformer_keys({{"pretrain_image_size", "pretrain_size"},
                                     {"window_size", "window"},
                                     {"window_block_indices", "window_blocks"},
                                     {"residual_block_indices", "residual_blocks"},
                                     {"mlp_ratio", "mlp_ratio"},
                                     {"hidden_act", "act"},
                                     {"qkv_bias", "qkv_bias"},
                                     {"use_absolute_position_embeddings", "absolute_pos"},
                                     {"use_relative_position_embeddings", "rel_pos"},
                                     {"drop_path_rate", "drop_path"}}),
           .fixed = R"({"pyramid_chans":0})",
           .defaults = R"({"image_size":224,"window_size":0,"window_block_indices":[],)"
                       R"("residual_block_indices":[],"use_relative_position_embeddings":false})",
           .values = {{"qkv_bias", "true", R"("full")"}, {"qkv_bias", "false", R"("none")"}},
           .inert = {"dropout_prob"},
           .written = {.name = "VitDet",
                       .constants = R"({"dropout_prob":0.0,"initializer_range":0.02})",
                       .whole = {"mlp_ratio"},
                       .more = square_tables}}};
}

Renames detectron2_names() {
  Renames out;
  out.naming = "detectron2";
  out.prefix = "backbone.";
  out.rules = {{"pos_embed", "net.pos_embed"}, {"patch_embed", "net.patch_embed"}, {"blocks", "net.blocks"}};
  out.unused = {"proposal_generator.*", "roi_heads.*", "pixel_mean", "pixel_std"};
  return out;
}

Renames transformers_names() {
  Renames out;
  out.naming = "transformers";
  out.of = {"pyramid_chans=0"};
  out.rules = {{"pos_embed", "embeddings.position_embeddings"},
               {"patch_embed.proj", "embeddings.projection"},
               {"patch_embed", "embeddings", true},
               {"blocks.{i}.attn", "encoder.layer.{i}.attention"},
               {"blocks.{i}", "encoder.layer.{i}"}};
  return out;
}

std::vector<Renames> renames() { return {Renames{}, detectron2_names(), transformers_names()}; }

}  // namespace
}  // namespace vitdet_model

const Family kVitdet = family<vitdet_model::Vitdet, vitdet_model::variants, vitdet_model::renames,
                              vitdet_model::from_shapes, vitdet_model::hub>("vitdet");

}  // namespace locant
