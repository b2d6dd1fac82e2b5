// AIM's Swin: Yang et al. 2023, "AIM: Adapting Image Models for Efficient Video Action Recognition", figure 2
// (adaptation in space, in time, and of both), with Swin in place of ViT. Tensor names: swin2d_adapter of
// taoyang1122/adapt-image-models. Swin's attention serves twice: in every second block each place first asks
// over the frames, with a bias table of time in place of the windows' (position/temporal_bias.h), then each
// frame over its windows, by the same qkv and proj. Adapters follow both, and one lies beside the MLP. Swin's
// pyramid over frames, as in Video Swin.
#include <fmt/format.h>

#include "core/error.h"
#include "models/clip_swin.h"
#include "models/family.h"
#include "models/parts.h"
#include "ops/arithmetic.h"
#include "position/swin_bias.h"
#include "position/temporal_bias.h"

namespace locant {
namespace aim_swin_model {
namespace {

constexpr const char* kName = "aim_swin";

struct AimSwinConfig : ClipSwinConfig {
  Pair window = {7, 7};
  double adapter_ratio = 0.25;
  bool temporal_bias = true;  // false: a learned embedding of frames behind the patches instead

  /// Frames of the tokens: what the tables of time are made for.
  std::int64_t frames() const { return (img_size.frames + patch_size.frames - 1) / patch_size.frames; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  clip_fields(a, c);
  a.field("window", c.window, range(1, 256));
  a.field("adapter_ratio", c.adapter_ratio, below(1024));
  a.field("temporal_bias", c.temporal_bias);
  a.only("window_fit", "shrink_axis");
  a.only("qkv_bias", "full");
}

void check(const std::string& op, const AimSwinConfig& c) {
  check_clips(op, c);
  require(c.frames() <= 4096, op, "{} frames of tokens; up to 4096 fit", c.frames());
  require(scaled_width(c.dim, c.adapter_ratio) > 0, op, "adapter_ratio {} leaves dim {} no hidden channel",
          c.adapter_ratio, c.dim);
}

/// `D_fc2` GELU(`D_fc1` x), which starts at zero.
class Adapter {
 public:
  Adapter() = default;
  Adapter(const Weights& w, std::int64_t width, double ratio)
      : path_(w.path()),
        down_(w / "D_fc1", width, scaled_width(width, ratio)),
        up_(w / "D_fc2", scaled_width(width, ratio), width, {.weight_init = Init::zeros()}) {}
  /// The same plus residual where that is defined.
  Var operator()(const Context& ctx, const Var& x, const Var& residual = {}) const {
    const Var hidden = down_(ctx, x, Activation::gelu);
    if (ctx.probe != nullptr) ctx.show([&] { return path_; }, up_({}, hidden));
    return up_(ctx, hidden, Activation::none, residual);
  }

 private:
  std::string path_;
  Linear down_, up_;
};

/// One `qkv` and one `proj` for two ways of asking. x (B, frames * rows * columns, C) -> the same.
class Attention {
 public:
  Attention(const Weights& w, const AimSwinConfig& c, std::size_t stage, bool temporal)
      : heads_(c.heads[stage]) {
    const auto table = [&](const char* name, std::int64_t rows) {
      return w.get(name, {rows, heads_}, Init::trunc_normal(0.02f), {.decay = false});
    };
    const Window window{c.window.rows, c.window.columns};
    space_ = {window, table(SwinBias::kTable, swin_table_rows(window))};
    if (temporal && c.temporal_bias)
      time_ = {c.frames(), table(TemporalBias::kTable, temporal_table_rows(c.frames()))};
    qkv_ = Linear(w / "qkv", c.width(stage), 3 * c.width(stage));
    proj_ = Linear(w / "proj", c.width(stage), c.width(stage));
  }
  /// Each frame's (shifted) windows by themselves.
  Var over_space(const Context& ctx, const Var& x, const WindowLayout3d& layout,
                 const WindowMaps& maps) const {
    AttentionOptions options;
    options.terms = {
        swin_bias_term(space_, maps.gather(space_.window, {layout.window.rows, layout.window.columns}))};
    return attend(ctx, x, layout, maps, std::move(options));
  }
  /// All frames of each place: windows of one place.
  Var over_time(const Context& ctx, const Var& x, Grid grid, const WindowMaps& maps) const {
    AttentionOptions options;
    if (time_.table.defined()) options.terms = {temporal_bias_term(time_, heads_)};
    return attend(ctx, x, {.grid = grid, .window = {grid.frames, 1, 1}}, maps, std::move(options));
  }

 private:
  Var attend(const Context& ctx, const Var& x, const WindowLayout3d& layout, const WindowMaps& maps,
             AttentionOptions options) const {
    options.heads = heads_;
    options.rows = maps.rows(layout);
    // A padded token is zero before the projection, so its key and value are the projection's bias.
    if (layout.padded().tokens() != layout.grid.tokens()) options.pad_bias = qkv_.bias();
    return proj_(ctx, attention(ctx, qkv_(ctx, x), options));
  }

  std::int64_t heads_;
  SwinBias space_;
  TemporalBias time_;
  Linear qkv_, proj_;
};

/// x + T_Adapter(attn(norm1 x) over time), in blocks of even index alone;
/// x + a + S_Adapter2(a), a = attn(norm1 x) over space;
/// x + mlp(norm2 x) + S_Adapter(norm2 x) / 2.
class Block {
 public:
  Block(const Weights& w, const AimSwinConfig& c, std::size_t stage, std::int64_t index, float drop_path,
        std::shared_ptr<const WindowMaps> maps)
      : temporal_(index % 2 == 0),
        window_{1, c.window.rows, c.window.columns},
        maps_(std::move(maps)),
        residual_(drop_path),
        norm1_(w / "norm1", c.width(stage), c.norm_eps),
        attention_(w / "attn", c, stage, temporal_),
        norm2_(w / "norm2", c.width(stage), c.norm_eps),
        mlp_(w / "mlp", c.width(stage), scaled_width(c.width(stage), c.mlp_ratio)),
        s_adapter_(w / "S_Adapter", c.width(stage), c.adapter_ratio),
        s_adapter2_(w / "S_Adapter2", c.width(stage), c.adapter_ratio) {
    if (temporal_)
      t_adapter_ = Adapter(w / "T_Adapter", c.width(stage), c.adapter_ratio);
    else
      shift_ = {0, c.window.rows / 2, c.window.columns / 2};
  }
  Var operator()(const Context& ctx, Var x, Grid grid) const {
    if (temporal_)
      x = residual_(ctx, x, [&](const Var& skip) {
        return t_adapter_(ctx, attention_.over_time(ctx, norm1_(ctx, x), grid, *maps_), skip);
      });
    x = residual_(ctx, x, [&](const Var& skip) {
      const Var a = attention_.over_space(ctx, norm1_(ctx, x), fit_windows_3d(grid, window_, shift_), *maps_);
      return s_adapter2_(ctx, a, skip.defined() ? add(ctx, a, skip) : a);
    });
    const Var normed = norm2_(ctx, x);
    x = mlp_(ctx, normed, x);  // never dropped
    return residual_(ctx, x, [&](const Var& skip) {
      const Var half = affine(ctx, s_adapter_(ctx, normed), 0.5f);
      return skip.defined() ? add(ctx, half, skip) : half;
    });
  }

 private:
  bool temporal_;
  Grid window_, shift_ = {0, 0, 0};
  std::shared_ptr<const WindowMaps> maps_;
  Residual residual_;
  LayerNorm norm1_;
  Attention attention_;
  LayerNorm norm2_;
  Mlp mlp_;
  Adapter s_adapter_, s_adapter2_, t_adapter_;
};

/// `temporal_embedding` (1, frames, C), where the bias of time is off.
class FramePosition {
 public:
  FramePosition(const Weights& w, const AimSwinConfig& c) : frames_(c.frames()), clip_(c.img_size.frames) {
    if (!c.temporal_bias)
      table_ = w.get("temporal_embedding", {1, frames_, c.dim}, Init::zeros(), {.decay = false});
  }
  Var operator()(const Context& ctx, const Var& x, Grid grid) const {
    require(grid.frames == frames_, kName,
            "a clip whose patches are {} frames long; the model's tables of time are made for {}, so that "
            "clips need {} frames",
            grid.frames, frames_, clip_);
    if (!table_.defined()) return x;
    const std::int64_t B = x.dim(0), C = x.dim(2);
    const Var frames = reshape(ctx, x, {B, frames_, grid.rows * grid.columns, C});
    return reshape(ctx, add_broadcast(ctx, frames, reshape(ctx, table_, {1, frames_, 1, C})), x.shape());
  }

 private:
  std::int64_t frames_, clip_;
  Var table_;
};

using AimSwin = ClipSwin<AimSwinConfig, FramePosition, Block>;

void from_shapes(const NamedShapes& s, AimSwinConfig& c) {
  const std::string block = "layers.0.blocks.0.", table = block + "attn." + TemporalBias::kTable;
  const std::int64_t hidden = s.dim(block + "S_Adapter2.D_fc1.weight", 0);
  c.ClipSwinConfig::from_shapes(s, SwinBias::kTable);
  if (scaled_width(c.dim, c.adapter_ratio) != hidden)
    c.adapter_ratio = static_cast<double>(hidden) / static_cast<double>(c.dim);
  c.window = swin_window_of(kName, s, block + "attn." + SwinBias::kTable, c.window);
  c.temporal_bias = s.has(table);
  const std::int64_t frames = c.temporal_bias ? (s.dim(table, 0) + 1) / 2 : s.dim("temporal_embedding", 1);
  if (c.frames() != frames) c.img_size.frames = frames * c.patch_size.frames;
}

std::vector<Variant<AimSwinConfig>> variants() {
  Variant<AimSwinConfig> base;
  base.name = "aim_swin_base_patch244_window7_kinetics400_32";
  base.config.dim = 128;
  base.config.depths = {2, 2, 18, 2};
  base.config.heads = {4, 8, 16, 32};
  base.config.dropout = 0.5;
  base.config.drop_path = 0.2;
  base.preprocess.crop_pct = 1.0;
  base.preprocess.filter = ResizeFilter::bilinear;
  base.note = "AIM, Yang et al. 2023: adapters in Swin-B, clips of 32 frames, Kinetics-400";
  base.aliases = {"aim_swin_base"};
  return {base};
}

std::vector<Renames> renames() {
  Renames official;
  official.naming = "taoyang1122/adapt-image-models";
  official.prefix = "backbone.";
  official.rules = {{"head", "cls_head.fc_cls"}};
  official.derived = {"*.relative_position_index", "*.t_relative_coords", "*.attn_mask"};
  return {official};
}

}  // namespace
}  // namespace aim_swin_model

const Family kAimSwin = family<aim_swin_model::AimSwin, aim_swin_model::variants, aim_swin_model::renames,
                               aim_swin_model::from_shapes>(aim_swin_model::kName);

}  // namespace locant
