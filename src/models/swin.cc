// Swin Transformer V1: Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted
// Windows", figures 3 (the whole), 2 and 4 (windows and their shift). Tensor names, stage paths, layout and
// defaults are those of microsoft/Swin-Transformer; timm, torchvision and Hugging Face compute otherwise only
// where windows do not divide the grid.
#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "models/swin_pyramid.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "position/swin_bias.h"

namespace locant {
namespace swin_model {
namespace {

struct SwinConfig : SwinPyramidConfig {};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  pyramid_fields(a, c);
  a.only("qkv_bias", "full");
  a.only("block_norm", "pre");
  a.only("merge_norm", "before");
}

void check(const std::string& op, const SwinConfig& c) { check_pyramid(op, c); }

/// x + attention(norm1 x) in windows, then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const SwinConfig& c, std::size_t stage, Window window, float drop_path)
      : path_(w.path()),
        heads_(c.heads[stage]),
        residual_(drop_path),
        norm1_(w / "norm1", c.width(stage), c.norm_eps),
        bias_{window, (w / "attn")
                          .get(SwinBias::kTable, {swin_table_rows(window), heads_}, Init::trunc_normal(0.02f),
                               {.decay = false})},
        qkv_(w / "attn" / "qkv", c.width(stage), 3 * c.width(stage)),
        proj_(w / "attn" / "proj", c.width(stage), c.width(stage)),
        norm2_(w / "norm2", c.width(stage), c.norm_eps),
        mlp_(w / "mlp", c.width(stage), scaled_width(c.width(stage), c.mlp_ratio)) {}
  /// x (B, rows * columns, C).
  Var operator()(const Context& ctx, const Var& x, const WindowLayout& layout, const WindowMaps& maps) const {
    const Var y =
        residual_(ctx, x, [&](const Var& skip) { return attend(ctx, norm1_(ctx, x), skip, layout, maps); });
    return residual_(ctx, y, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, y), skip); });
  }

 private:
  /// skip + proj(window attention): windows, shift and padding are row maps of the fused op, nothing is
  /// copied into windows.
  Var attend(const Context& ctx, const Var& x, const Var& skip, const WindowLayout& layout,
             const WindowMaps& maps) const {
    const Var qkv = qkv_(ctx, x);  // (B, N, 3 C), rows q | k | v, head-major
    AttentionOptions options;
    options.heads = heads_;
    options.rows = maps.rows(layout);
    options.terms = {swin_bias_term(bias_, maps.gather(bias_.window, layout.window))};
    // A padded token is zero before the projection, so its key and value are the projection's bias.
    if (layout.pads()) options.pad_bias = qkv_.bias();
    const Var out = attention(ctx, qkv, options);
    if (ctx.probe != nullptr)  // as the libraries see it, in window order
      ctx.show([&] { return path_ + ".attn"; },
               Var(window_order(proj_(Context{}, out).value(), *options.rows)));
    return proj_(ctx, out, Activation::none, skip);
  }

  std::string path_;
  std::int64_t heads_;
  Residual residual_;
  LayerNorm norm1_;
  SwinBias bias_;
  Linear qkv_, proj_;
  LayerNorm norm2_;
  Mlp mlp_;
};

using Swin = SwinPyramid<SwinConfig, Block, SwinMerging>;

/// Of the last stage.
Pair last_window(const SwinConfig& c) {
  Grid grid = c.input.grid();
  for (std::size_t s = 1; s < c.stages(); ++s) grid = {1, (grid.rows + 1) / 2, (grid.columns + 1) / 2};
  const Window window = c.layout({c.window.rows, c.window.columns}, grid, false).window;
  return {window.rows, window.columns};
}

void from_shapes(const NamedShapes& s, SwinConfig& c) {
  const auto table = [](std::size_t stage) {
    return fmt::format("layers.{}.blocks.0.attn.relative_position_bias_table", stage);
  };
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.SwinStages::from_shapes(s, SwinBias::kTable, 1);
  const std::size_t last = c.stages() - 1;
  const Pair final = swin_window_of("swin", s, table(last), c.window);
  c.window = swin_window_of("swin", s, table(0), c.window);
  s.ratio(fmt::format("layers.{}.blocks.0.mlp.fc1.weight", last), c.mlp_ratio);
  c.patch_norm = s.has("patch_embed.norm.weight");
  c.absolute_pos = s.has("absolute_pos_embed");
  if (c.absolute_pos) {
    c.input.image_of(s, "swin", s.dim("absolute_pos_embed", 1));
  } else {  // any whose last windows are as the last table has them; usually one window
    const Pair &patch = c.input.patch_size,
               one = {final.rows * patch.rows << last, final.columns * patch.columns << last};
    s.assume("img_size", c.input.img_size, one, last_window(c) == final);
  }
  s.assume("norm_eps", c.norm_eps);
}

struct Size {
  const char* name;
  std::int64_t dim, depth;          // depth: of stage 2, the others have two blocks
  double drop_path;                 // of the paper's training
  std::int64_t torchvision_resize;  // short side before its 224 crop; 0: torchvision has no such model
};

constexpr Size kSizes[] = {{"tiny", 96, 6, 0.2, 232},
                           {"small", 96, 18, 0.3, 246},
                           {"base", 128, 18, 0.5, 238},
                           {"large", 192, 18, 0.2, 0}};

/// Image of 32 window sides: the last stage (patch 4, three mergings) is then one window.
SwinConfig config_of(const Size& size, std::int64_t window, std::int64_t classes) {
  const std::int64_t heads = size.dim / 32;
  SwinConfig c;
  c.dim = size.dim;
  c.depths = {2, 2, size.depth, 2};
  c.heads = {heads, 2 * heads, 4 * heads, 8 * heads};
  c.window = {window, window};
  c.drop_path = size.drop_path;
  c.input.img_size = {32 * window, 32 * window};
  c.input.num_classes = classes;
  return c;
}

std::vector<Variant<SwinConfig>> variants() {
  std::vector<Variant<SwinConfig>> out;
  for (const Size& size : kSizes)
    for (const std::int64_t window : {7, 12}) {
      if (window == 12 && size.dim < 128) continue;  // the small ones exist at 224 only
      const std::int64_t image = window * 32;
      const Preprocess preprocess = {.rows = image, .columns = image, .crop_pct = window == 7 ? 0.9 : 1.0};
      const std::string name = fmt::format("swin_{}_patch4_window{}_{}", size.name, window, image);
      const std::string brief = fmt::format("swin_{}{}", size.name, window == 7 ? "" : "_384");
      out.push_back({name, config_of(size, window, 1000), preprocess, "Swin V1, Liu et al. 2021", {brief}});
      out.push_back({name + "_22k", config_of(size, window, 21841), preprocess,
                     "Swin V1 on the 21,841 classes of ImageNet-22k"});
      out.back().aliases = {name + ".ms_in22k", brief + "_22k"};
    }
  for (const Size& size : kSizes) {
    if (size.torchvision_resize == 0) continue;
    const std::string name = fmt::format("swin_{}", size.name[0]);
    out.push_back({name, config_of(size, 7, 1000), {.resize_to = size.torchvision_resize}});
    out.back().config.window_fit = GridFit::pad;
    out.back().config.input.patch_remainder = PatchInput::Remainder::drop;
    out.back().note = "Swin V1 as trained by torchvision";
    out.back().aliases = {"torchvision/" + name};
    out.back().naming = "torchvision";
  }
  SwinConfig digits;
  digits.dim = 48;
  digits.depths = {2, 2};
  digits.heads = {3, 6};
  digits.drop_path = 0.1;
  out.push_back({"swin_digits", digits});
  out.back().config.input = {{28, 28}, {2, 2}, 1, 10, PatchInput::Remainder::pad};
  out.back().preprocess = {28, 28, 1, Preprocess::Mode::squash, 1.0, 0, ResizeFilter::bilinear};
  out.back().preprocess.mean.assign(3, 0.1307f);
  out.back().preprocess.std.assign(3, 0.3081f);
  out.back().note = "a small Swin for handwritten digits, trained by Locant";
  return out;
}

/// What transformers' class fixes: patch and merging norms have PyTorch's epsilon, not layer_norm_eps.
constexpr const char* kHub = R"({"window_fit":"shrink","patch_remainder":"pad","merge_norm_eps":1e-5})";

std::vector<HubKeys> hub() {
  return {{.model_type = "swin",
           .keys = {{"image_size", "img_size"},
                    {"patch_size", "patch_size"},
                    {"num_channels", "in_chans"},
                    {"embed_dim", "dim"},
                    {"depths", "depths"},
                    {"num_heads", "heads"},
                    {"window_size", "window"},
                    {"mlp_ratio", "mlp_ratio"},
                    {"use_absolute_embeddings", "absolute_pos"},
                    {"hidden_act", "act"},
                    {"layer_norm_eps", "norm_eps"},
                    {"drop_path_rate", "drop_path"}},
           .fixed = kHub,
           .inert = {"qkv_bias", "hidden_size", "num_layers", "use_mask_token"},
           .written = {.name = "Swin",
                       .constants = R"({"qkv_bias":true,"hidden_dropout_prob":0.0,)"
                                    R"("attention_probs_dropout_prob":0.0,"initializer_range":0.02,)"
                                    R"("encoder_stride":32})",
                       .more = pyramid_widths}}};
}

/// Sources of all names: the state dicts of the libraries.
Renames transformers_names() {
  Renames out;
  out.naming = "transformers";
  out.prefix = "swin.";
  out.rules = {{"patch_embed.proj", "embeddings.patch_embeddings.projection"},
               {"patch_embed.norm", "embeddings.norm"},
               {"absolute_pos_embed", "embeddings.position_embeddings"},
               {"patch_embed", "embeddings", true},
               {"layers.{s}.blocks.{b}.norm1", "encoder.layers.{s}.blocks.{b}.layernorm_before"},
               {"layers.{s}.blocks.{b}.norm2", "encoder.layers.{s}.blocks.{b}.layernorm_after"},
               {"layers.{s}.blocks.{b}.attn.qkv",
                {"encoder.layers.{s}.blocks.{b}.attention.self.query",
                 "encoder.layers.{s}.blocks.{b}.attention.self.key",
                 "encoder.layers.{s}.blocks.{b}.attention.self.value"}},
               {"layers.{s}.blocks.{b}.attn.proj", "encoder.layers.{s}.blocks.{b}.attention.output.dense"},
               {"layers.{s}.blocks.{b}.attn.relative_position_bias_table",
                "encoder.layers.{s}.blocks.{b}.attention.self.relative_position_bias_table"},
               {"layers.{s}.blocks.{b}.attn", "encoder.layers.{s}.blocks.{b}.attention", true},
               {"layers.{s}.blocks.{b}.mlp.fc1", "encoder.layers.{s}.blocks.{b}.intermediate.dense"},
               {"layers.{s}.blocks.{b}.mlp.fc2", "encoder.layers.{s}.blocks.{b}.output.dense"},
               {"layers.{s}", "encoder.layers.{s}"},
               {"norm", "layernorm"},
               {"head", "classifier"}};
  out.unused = {"embeddings.mask_token"};
  out.overrides = {{"", kHub}};
  out.preprocess = {{"", R"({"mode":"squash"})"}};
  return out;
}

std::vector<Renames> renames() {
  Renames microsoft;
  microsoft.naming = "microsoft/Swin-Transformer";
  microsoft.preprocess = {{"rows=224", R"({"crop_pct":0.875})"}, {"rows=384", R"({"mode":"squash"})"}};

  // timm merges at the start of a stage, so that "layers.1" is what its blocks give, and our "layers.0" its
  // merging. It shrinks each axis by itself and has no other way: what is called shrink there is that.
  Renames timm;
  timm.naming = "timm";
  timm.rules = {{"layers.{s}.downsample", "layers.{s+1}.downsample"},
                {"layers.{s}.blocks", "layers.{s}", true},
                {"layers.{s}", "layers.{s+1}.downsample", true},
                {"head", "head.fc"}};
  timm.overrides = {
      {"", R"({"window_fit":"shrink_axis","pad_order":"roll_then_pad","patch_remainder":"pad"})"},
      {"window_fit=shrink", R"({"window_fit":"shrink_axis"})", true}};
  Renames torchvision;
  torchvision.naming = "torchvision";
  torchvision.rules = {{"patch_embed.proj", "features.0.0"},
                       {"patch_embed.norm", "features.0.2"},
                       {"patch_embed", "features.0", true},
                       {"layers.{s}.blocks.{b}.mlp.fc1", "features.{2s+1}.{b}.mlp.0"},
                       {"layers.{s}.blocks.{b}.mlp.fc2", "features.{2s+1}.{b}.mlp.3"},
                       {"layers.{s}.blocks.{b}", "features.{2s+1}.{b}"},
                       {"layers.{s}.blocks", "features.{2s+1}", true},
                       {"layers.{s}.downsample", "features.{2s+2}"},
                       {"layers.{s}", "features.{2s+2}", true}};
  torchvision.overrides = {{"", R"({"window_fit":"pad","patch_remainder":"drop"})"}};

  std::vector<Renames> out = {microsoft, timm, torchvision, transformers_names()};
  for (Renames& names : out) names.derived = {"*.relative_position_index", "*.attn_mask"};
  return out;
}

}  // namespace
}  // namespace swin_model

const Family kSwin = family<swin_model::Swin, swin_model::variants, swin_model::renames,
                            swin_model::from_shapes, swin_model::hub>("swin");

}  // namespace locant
