// Video Swin Transformer: Liu et al. 2022, "Video Swin Transformer", figures 1 (the whole), 2 (two blocks in
// a row) and 3 (windows of space and time, and their shift). Tensor names, stage paths, layout and defaults
// are those of SwinTransformer/Video-Swin-Transformer, whose head is I3D's; torchvision and mmaction2 compute
// the same under other names. The block: nn/video_swin_block.h. Swin's pyramid over frames, which no merging
// joins.
#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "models/swin_pyramid.h"
#include "nn/video_swin_block.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

constexpr const char* kName = "video_swin";

struct VideoSwinConfig : SwinStages {
  enum class Pool { mean, none };
  // Clips of the training: no tensor depends on their size, and any runs.
  Grid img_size = {32, 224, 224};
  Grid patch_size = {2, 4, 4}, window = {8, 7, 7};
  std::int64_t in_chans = 3, num_classes = 400;
  WindowFit window_fit = WindowFit::corner;  // how a window that had to shrink reads its table
  bool patch_norm = true, qkv_bias = true;
  double mlp_ratio = 4.0;
  float norm_eps = 1e-5f;
  Pool pool = Pool::mean;  // none: the grid itself, as the official backbone gives it
  double dropout = 0.0;    // of the pooled clip, before the head
  double drop_path = 0.0;  // of the last block; rises linearly from 0

  float grid_eps() const { return norm_eps; }
};

/// In JSON a list of frames, rows and columns.
template <class Archive, class Sides>
void sides_field(Archive& a, const char* key, Sides& sides, const FieldRange& rule) {
  std::vector<std::int64_t> list = {sides.frames, sides.rows, sides.columns};
  a.field(key, list, rule);
  if constexpr (!std::is_const_v<Sides>) {
    require(list.size() == 3, kName, "{} has {} sides; frames, rows and columns were expected", key,
            list.size());
    sides = {list[0], list[1], list[2]};
  }
}

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  sides_field(a, "img_size", c.img_size, at_least(1));
  sides_field(a, "patch_size", c.patch_size, range(1, 256));
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  stage_fields(a, c);
  sides_field(a, "window", c.window, range(1, 256));
  a.choice("window_fit", c.window_fit, {"shrink_corner", "shrink_axis"});
  a.field("patch_norm", c.patch_norm);
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("norm_eps", c.norm_eps);
  a.choice("pool", c.pool, {"mean", "none"});
  a.field("dropout", c.dropout, rate());
  a.field("drop_path", c.drop_path, rate());
  a.only("patch_remainder", "pad");
  a.only("absolute_pos", false);
  a.only("act", "gelu");
  a.only("block_norm", "pre");
  a.only("merge_norm", "before");
}

void check(const std::string& op, const VideoSwinConfig& c) {
  check_stages(op, c);
  constexpr std::int64_t kLargestWindow = 1 << 13;  // ten times the paper's largest
  require(c.window.tokens() <= kLargestWindow, op, "a window of {} x {} x {} tokens; up to {} fit",
          c.window.frames, c.window.rows, c.window.columns, kLargestWindow);
  require(c.pool == VideoSwinConfig::Pool::mean || c.num_classes == 0, op,
          "{} classes, but pool none gives no vector for a head; pool mean or num_classes 0 is needed",
          c.num_classes);
}

/// Convolution over time and space whose stride is its kernel, as a product: clips (B, C, F, H, W) -> (B, N,
/// dim). `weight` (dim, C, frames, rows, columns), `bias` (dim). Clips that are no multiple of the patch get
/// zeros at their ends.
class ClipEmbed {
 public:
  ClipEmbed() = default;
  ClipEmbed(const Weights& w, const VideoSwinConfig& c) : patch_(c.patch_size) {
    const std::int64_t in = c.in_chans * patch_.tokens();
    projection_ = Linear(w, in, c.dim,
                         {.weight_init = Init::fan_in(in),
                          .bias_init = Init::fan_in(in),
                          .weight_shape = {c.dim, c.in_chans, patch_.frames, patch_.rows, patch_.columns}});
  }
  /// Patches of clips (B, C, F, H, W).
  Grid grid(const Shape& clips) const {
    const auto patches = [](std::int64_t side, std::int64_t patch) { return (side + patch - 1) / patch; };
    return {patches(clips[2], patch_.frames), patches(clips[3], patch_.rows),
            patches(clips[4], patch_.columns)};
  }
  Var operator()(const Context& ctx, const Var& clips) const {
    const Shape shape = clips.shape();
    const std::int64_t B = shape[0], C = shape[1], H = shape[3], W = shape[4];
    const Grid grid = this->grid(shape);
    const std::int64_t missing = grid.frames * patch_.frames - shape[2];
    Var x = clips;
    if (missing > 0) x = concat_axis(ctx, {x, Var(Tensor::zeros({B, C, missing, H, W}))}, 2);
    // The frames of a patch as channels of a picture, in the order of the weight: (channel, frame).
    x = reshape(ctx, x, {B, C, grid.frames, patch_.frames, H * W});
    x = reshape(ctx, permute(ctx, x, {0, 2, 1, 3, 4}), {B * grid.frames, C * patch_.frames, H, W});
    x = pad_to_patches(ctx, x, patch_.rows, patch_.columns);
    x = projection_(ctx, patchify(ctx, x, patch_.rows, patch_.columns, PatchOrder::channel_row_column));
    return reshape(ctx, x, {B, grid.tokens(), x.dim(2)});
  }

 private:
  Grid patch_;
  Linear projection_;
};

/// Clips (B, C, F, H, W), normalised as the checkpoint wants them.
class VideoSwin final : public ModelOf<VideoSwinConfig> {
 public:
  VideoSwin(const Family& family, VideoSwinConfig config, const Weights& w);
  std::vector<Port> inputs() const override { return {{"clips", "B C F H W", "normalised frames"}}; }
  std::vector<Port> outputs() const override {
    if (c().pool == VideoSwinConfig::Pool::none)
      return {{"output", "B C F H W", "normed tokens of the last stage"}};
    return {{"output", "B C", "logits, or their mean"}};
  }
  /// Of clips. A level's grid has frames: tokens are (B, frames * rows * columns, C), frames slowest.
  Features features(const Context& ctx, const Var& clips) const override {
    Features out;
    out.cls = mean_pool(ctx, encode(ctx, clips, &out.levels).tokens);
    return out;
  }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const Level x = encode(ctx, in.at("clips"), nullptr);
    if (c().pool == VideoSwinConfig::Pool::none) return {{"output", channels_first(ctx, x)}};
    Var y = dropout(ctx, mean_pool(ctx, x.tokens), static_cast<float>(c().dropout));
    if (head_.defined()) y = ctx.shown("head", head_(ctx, y));
    return {{"output", y}};
  }

 private:
  using Level = Features::Level;
  Level embed(const Context& ctx, const Var& clips) const;
  /// Normed tokens of the last stage. `levels`, when given, gets every stage's, these as the last.
  Level encode(const Context& ctx, const Var& clips, std::vector<Level>* levels) const;
  void run_blocks(const Context& ctx, std::size_t stage, Level& x) const;
  /// (B, C, F, H, W)
  static Var channels_first(const Context& ctx, const Level& x) {
    const Grid g = x.grid;
    const Var grid = reshape(ctx, x.tokens, {x.tokens.dim(0), g.frames, g.rows, g.columns, x.tokens.dim(2)});
    return permute(ctx, grid, {0, 4, 1, 2, 3});
  }
  static void show_channels_first(const Context& ctx, const std::string& path, const Level& x) {
    if (ctx.probe != nullptr) ctx.show([&] { return path; }, channels_first({}, x));
  }

  ClipEmbed patch_embed_;
  LayerNorm patch_norm_, norm_;
  std::vector<std::vector<VideoSwinBlock>> stages_;
  std::vector<SwinMerging> mergings_;  // none after the last stage
  Linear head_;
};

VideoSwin::VideoSwin(const Family& family, VideoSwinConfig config, const Weights& w)
    : ModelOf(family, std::move(config)) {
  const VideoSwinConfig& c = this->c();
  patch_embed_ = ClipEmbed(w / "patch_embed" / "proj", c);
  if (c.patch_norm) patch_norm_ = LayerNorm(w / "patch_embed" / "norm", c.dim, c.grid_eps());
  const std::vector<float> rates = drop_rates(std::reduce(c.depths.begin(), c.depths.end()), c.drop_path);
  auto drop_path = rates.begin();
  const auto maps = std::make_shared<const WindowMaps>();
  const Grid half = {c.window.frames / 2, c.window.rows / 2, c.window.columns / 2};
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const Weights at = w / "layers" / static_cast<std::int64_t>(s);
    stages_.emplace_back();
    for (std::int64_t b = 0; b < c.depths[s]; ++b)
      stages_[s].emplace_back(at / "blocks" / b,
                              VideoSwinBlock::Options{.width = c.width(s),
                                                      .heads = c.heads[s],
                                                      .window = c.window,
                                                      .shift = b % 2 == 0 ? Grid{0, 0, 0} : half,
                                                      .mlp_ratio = c.mlp_ratio,
                                                      .qkv_bias = c.qkv_bias,
                                                      .norm_eps = c.norm_eps,
                                                      .drop_path = *drop_path++,
                                                      .fit = c.window_fit},
                              maps);
    if (s + 1 < c.stages()) mergings_.emplace_back(at / "downsample", c, s);
  }
  norm_ = LayerNorm(w / "norm", c.width(c.stages() - 1), c.norm_eps);
  if (c.num_classes > 0)
    head_ = Linear(w / "head", c.width(c.stages() - 1), c.num_classes, {.weight_init = Init::normal(0.01f)});
}

Features::Level VideoSwin::embed(const Context& ctx, const Var& clips) const {
  const Shape& shape = clips.shape();
  require(shape.rank() == 5 && shape.numel() > 0 && shape[1] == c().in_chans, op(),
          "clips of shape {}; (B, {}, frames, H, W) was expected", shape.str(), c().in_chans);
  Level x{patch_embed_(ctx, clips), patch_embed_.grid(shape), c().patch_size.rows};
  if (c().patch_norm) x.tokens = ctx.shown("patch_embed.norm", patch_norm_(ctx, x.tokens));
  show_channels_first(ctx, "patch_embed", x);
  return x;
}

Features::Level VideoSwin::encode(const Context& ctx, const Var& clips, std::vector<Level>* levels) const {
  Level x = embed(ctx, clips);
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    run_blocks(ctx, s, x);
    if (s < mergings_.size()) {
      if (levels != nullptr) levels->push_back(x);
      x.tokens = mergings_[s](ctx, merge_neighbours(ctx, x.tokens, x.grid));
      x.stride *= 2;
      ctx.show([=] { return fmt::format("layers.{}.downsample", s); }, x.tokens);
    }
    show_channels_first(ctx, fmt::format("layers.{}", s), x);
  }
  x.tokens = ctx.shown("norm", norm_(ctx, x.tokens));
  if (levels != nullptr) levels->push_back(x);
  return x;
}

void VideoSwin::run_blocks(const Context& ctx, std::size_t stage, Level& x) const {
  for (std::size_t b = 0; b < stages_[stage].size(); ++b) {
    x.tokens = stages_[stage][b](ctx, x.tokens, x.grid);
    ctx.show([=] { return fmt::format("layers.{}.blocks.{}", stage, b); }, x.tokens);
  }
  ctx.show([=] { return fmt::format("layers.{}.blocks", stage); }, x.tokens);
}

/// The window of an attention's table: the told one where the table is its own, else one that is square in
/// space. Several may have so many rows; the table of indices, where a file holds it, has the window's
/// tokens.
Grid window_of(const NamedShapes& s, const std::string& attention, const Grid& told) {
  const std::string table = attention + VideoSwinBias::kTable;
  const std::int64_t rows = s.dim(table, 0);
  const std::optional<Shape> index = s.derived(attention + "relative_position_index");
  const bool known = index && index->rank() == 2;
  const auto is = [&](const Grid& w) {
    return video_swin_table_rows(w) == rows && (!known || w.tokens() == (*index)[0]);
  };
  if (s.told("window") && is(told)) return told;
  const std::int64_t least = known ? 1 : 2;  // any odd number of rows could be a window of frames alone
  std::int64_t side = 1;
  while ((2 * side + 1) * (2 * side + 1) <= rows) ++side;
  for (; side >= least; --side) {
    const Grid window = {(rows / ((2 * side - 1) * (2 * side - 1)) + 1) / 2, side, side};
    if (!is(window)) continue;
    if (!known) {
      std::vector<std::int64_t> list;
      s.assume("window", list, {window.frames, window.rows, window.columns}, false);
    }
    return window;
  }
  fail(kName, "{} has {} rows, which is of no window that is square in space, so that window must be told",
       table, rows);
}

void from_shapes(const NamedShapes& s, VideoSwinConfig& c) {
  const std::string projection = "patch_embed.proj.weight", block = "layers.0.blocks.0.";
  c.in_chans = s.dim(projection, 1);
  c.patch_size = {s.dim(projection, 2), s.dim(projection, 3), s.dim(projection, 4)};
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  c.dim = s.dim(projection, 0);
  c.SwinStages::from_shapes(s, VideoSwinBias::kTable, 1);
  c.window = window_of(s, block + "attn.", c.window);
  c.patch_norm = s.has("patch_embed.norm.weight");
  c.qkv_bias = s.has(block + "attn.qkv.bias");
  s.ratio(block + "mlp.fc1.weight", c.mlp_ratio);
  s.assume("norm_eps", c.norm_eps);
}

struct Size {
  const char* name;
  std::int64_t dim, depth;  // depth: of stage 2, the others have two blocks
};

constexpr Size kTiny = {"tiny", 96, 6}, kSmall = {"small", 96, 18}, kBase = {"base", 128, 18};

/// A checkpoint of the official repository.
struct Release {
  Size size;
  std::int64_t window_frames;
  const char* data;
  std::int64_t classes;
  double drop_path;  // of its training
  const char* note;
  const char* alias;
};

constexpr Release kReleases[] = {
    {kTiny, 8, "kinetics400_1k", 400, 0.1, "Kinetics-400", "video_swin_tiny"},
    {kSmall, 8, "kinetics400_1k", 400, 0.1, "Kinetics-400", "video_swin_small"},
    {kBase, 8, "kinetics400_1k", 400, 0.3, "Kinetics-400", "video_swin_base"},
    {kBase, 8, "kinetics400_22k", 400, 0.2, "Kinetics-400 after ImageNet-22k", "video_swin_base_22k"},
    {kBase, 8, "kinetics600_22k", 600, 0.2, "Kinetics-600 after ImageNet-22k", "video_swin_base_k600"},
    {kBase, 16, "sthv2", 174, 0.4, "Something-Something V2", "video_swin_base_ssv2"}};

VideoSwinConfig config_of(const Size& size, std::int64_t window_frames, std::int64_t classes) {
  const std::int64_t heads = size.dim / 32;
  VideoSwinConfig c;
  c.dim = size.dim;
  c.depths = {2, 2, size.depth, 2};
  c.heads = {heads, 2 * heads, 4 * heads, 8 * heads};
  c.window.frames = window_frames;
  c.num_classes = classes;
  return c;
}

/// Preprocessing is that of each of a clip's frames.
std::vector<Variant<VideoSwinConfig>> variants() {
  std::vector<Variant<VideoSwinConfig>> out;
  for (const Release& r : kReleases) {
    Variant<VideoSwinConfig>& v = out.emplace_back();
    v.name = fmt::format("swin_{}_patch244_window{}77_{}", r.size.name, r.window_frames, r.data);
    v.config = config_of(r.size, r.window_frames, r.classes);
    v.config.dropout = 0.5;
    v.config.drop_path = r.drop_path;
    v.preprocess.crop_pct = 1.0;
    v.preprocess.filter = ResizeFilter::bilinear;
    v.note = fmt::format("Video Swin, Liu et al. 2022: clips of 32 frames, {}", r.note);
    v.aliases = {r.alias};
  }
  for (const Size& size : {kTiny, kSmall, kBase}) {
    Variant<VideoSwinConfig>& v = out.emplace_back();
    v.name = fmt::format("swin3d_{}", size.name[0]);
    v.config = config_of(size, 8, 400);
    v.config.drop_path = 0.1;
    v.preprocess.resize_to = 256;
    v.preprocess.filter = ResizeFilter::bilinear;
    v.note = "Video Swin as ported by torchvision, Kinetics-400";
    v.aliases = {"torchvision/" + v.name};
    v.naming = "torchvision";
  }
  return out;
}

std::vector<Renames> renames() {
  Renames official;
  official.naming = "SwinTransformer/Video-Swin-Transformer";
  official.prefix = "backbone.";
  official.rules = {{"head", "cls_head.fc_cls"}};

  // A norm for each stage that it gives; classifiers have the last of four.
  Renames mmaction2 = official;
  mmaction2.naming = "open-mmlab/mmaction2";
  mmaction2.rules = {{"head", "cls_head.fc_cls"}, {"norm", "norm3"}};

  Renames torchvision;
  torchvision.naming = "torchvision";
  torchvision.rules = {{"patch_embed.norm", "patch_embed", true},
                       {"layers.{s}.blocks.{b}.mlp.fc1", "features.{2s}.{b}.mlp.0"},
                       {"layers.{s}.blocks.{b}.mlp.fc2", "features.{2s}.{b}.mlp.3"},
                       {"layers.{s}.blocks.{b}", "features.{2s}.{b}"},
                       {"layers.{s}.blocks", "features.{2s}", true},
                       {"layers.{s}.downsample", "features.{2s+1}"}};

  std::vector<Renames> out = {official, mmaction2, torchvision};
  for (Renames& names : out) names.derived = {"*.relative_position_index"};
  return out;
}

}  // namespace

const Family kVideoSwin = family<VideoSwin, variants, renames, from_shapes>(kName);

}  // namespace locant
