// Video Swin Transformer: Liu et al. 2022, "Video Swin Transformer", figures 1 (the whole), 2 (two blocks in
// a row) and 3 (windows of space and time, and their shift). Tensor names, stage paths, layout and defaults
// are those of SwinTransformer/Video-Swin-Transformer, whose head is I3D's; torchvision and mmaction2 compute
// the same under other names. The block: nn/video_swin_block.h. Swin's pyramid over frames, which no merging
// joins.
#include <fmt/format.h>

#include <optional>

#include "core/error.h"
#include "models/clip_swin.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/video_swin_block.h"

namespace locant {
namespace video_swin_model {
namespace {

constexpr const char* kName = "video_swin";

struct VideoSwinConfig : ClipSwinConfig {  // no tensor depends on img_size: clips of any size run
  Grid window = {8, 7, 7};
  WindowFit window_fit = WindowFit::corner;  // how a window that had to shrink reads its table
  bool qkv_bias = true;
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  clip_fields(a, c);
  sides_field(a, "window", c.window, range(1, 256));
  a.choice("window_fit", c.window_fit, {"shrink_corner", "shrink_axis"});
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
}

void check(const std::string& op, const VideoSwinConfig& c) {
  check_clips(op, c);
  constexpr std::int64_t kLargestWindow = 1 << 13;  // ten times the paper's largest
  require(c.window.tokens() <= kLargestWindow, op, "a window of {} x {} x {} tokens; up to {} fit",
          c.window.frames, c.window.rows, c.window.columns, kLargestWindow);
}

/// Windows tell places apart, nothing else.
struct NoPosition {
  NoPosition(const Weights&, const VideoSwinConfig&) {}
  Var operator()(const Context&, const Var& tokens, Grid) const { return tokens; }
};

struct Block : VideoSwinBlock {
  Block(const Weights& w, const VideoSwinConfig& c, std::size_t stage, std::int64_t index, float drop_path,
        const std::shared_ptr<const WindowMaps>& maps)
      : VideoSwinBlock(
            w,
            {.width = c.width(stage),
             .heads = c.heads[stage],
             .window = c.window,
             .shift = index % 2 == 0 ? Grid{0, 0, 0}
                                     : Grid{c.window.frames / 2, c.window.rows / 2, c.window.columns / 2},
             .mlp_ratio = c.mlp_ratio,
             .qkv_bias = c.qkv_bias,
             .norm_eps = c.norm_eps,
             .drop_path = drop_path,
             .fit = c.window_fit},
            maps) {}
};

using VideoSwin = ClipSwin<VideoSwinConfig, NoPosition, Block>;

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
  const std::string attention = "layers.0.blocks.0.attn.";
  c.ClipSwinConfig::from_shapes(s, VideoSwinBias::kTable);
  c.window = window_of(s, attention, c.window);
  c.qkv_bias = s.has(attention + "qkv.bias");
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
}  // namespace video_swin_model

const Family kVideoSwin =
    family<video_swin_model::VideoSwin, video_swin_model::variants, video_swin_model::renames,
           video_swin_model::from_shapes>(video_swin_model::kName);

}  // namespace locant
