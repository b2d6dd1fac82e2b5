#pragma once

// What families share and no layer is: the picture that comes in, tokens before the patches, what a block
// does with its branch, and rates of dropping.

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "models/config_json.h"
#include "models/model.h"
#include "models/named_shapes.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/elementwise.h"
#include "position/grid.h"
#include "position/learned_absolute.h"

namespace locant {

/// The picture as a model cuts it up.
struct PatchInput {
  /// What becomes of an image that is no multiple of the patch: an Error, cut off (torchvision), or zeros
  /// added at the right and bottom (Hugging Face, Microsoft).
  enum class Remainder { none, drop, pad };
  Pair img_size = {224, 224};  ///< what tables are made for
  Pair patch_size = {16, 16};
  std::int64_t in_chans = 3, num_classes = 1000;
  Remainder patch_remainder = Remainder::none;

  /// Patches of an image of these sides.
  Grid grid(Pair image) const;
  Grid grid() const { return grid(img_size); }
  /// Of images (B, C, H, W). Throws Error under `op` when the channels differ, or the sides are no multiples
  /// of the patch and have to be: with the nearest sides that are.
  Grid grid(std::string_view op, const Var& images) const;
  /// Patches projected, (B, rows * columns, width), with what grid(op, images) throws.
  Var embed(const Context& ctx, std::string_view op, const PatchEmbed& patch_embed, const Var& images) const;
  /// Throws Error under `op` unless img_size is a whole number of patches: for tables of them.
  void require_whole_patches(const std::string& op) const;
  /// Tokens of these images as the one level of a model's features.
  Features::Level level(std::string_view op, const Var& images, Var tokens) const {
    return {std::move(tokens), grid(op, images), patch_size.rows};
  }
  PatchEmbed patch_embed(const Weights& w, std::int64_t width) const {
    return {w, in_chans, patch_size.rows, patch_size.columns, width};
  }
  /// Patch, channels and classes off a convolution's weight (C, channels, rows, columns) and a head's
  /// (classes, C); no head: none. Not the image's size.
  void from_shapes(const NamedShapes& shapes, const std::string& projection, const std::string& head);
  /// img_size becomes that of so many patches: the told one where it has them, else a square. Throws Error
  /// where no square has them: the size must then be told.
  void image_of(const NamedShapes& shapes, std::string_view op, std::int64_t patches);
};

template <class Archive, class Input>
void patch_fields(Archive& archive, Input& input) {
  archive.field("img_size", input.img_size, at_least(1));
  archive.field("patch_size", input.patch_size, at_least(1));
  archive.field("in_chans", input.in_chans, at_least(1));
  archive.field("num_classes", input.num_classes);
}
/// What checkpoints may say of a transformer on patches, and nearly all do say alike.
template <class Archive>
void only_usual(Archive& archive) {
  archive.only("act", "gelu");
  archive.only("pos_embed", "learned");
}
/// For families of which some libraries take any size.
template <class Archive, class Input>
void remainder_field(Archive& archive, Input& input) {
  archive.choice("patch_remainder", input.patch_remainder, {"none", "drop", "pad"});
}

/// Tokens before the patches, (1, n, C) each: class, distillation, registers.
class Prefix {
 public:
  /// Asks for one; no weight decay.
  void add(const Weights& w, std::string_view name, std::int64_t tokens, std::int64_t width,
           const Init& init);
  std::int64_t size() const { return size_; }
  /// [prefix | x]
  Var before(const Context& ctx, const Var& x) const;
  /// Token `index` of x (B, N, C), alone: (B, C).
  static Var token(const Context& ctx, const Var& x, std::int64_t index);
  /// What follows the prefix, (B, N - size, C).
  Var cut(const Context& ctx, const Var& x) const;
  /// A row of probabilities (B, H, N) without the keys of the prefix.
  Tensor cut_row(const Tensor& row) const;

 private:
  std::vector<Var> tokens_;
  std::int64_t size_ = 0;
};

/// x + drop_path(gamma * dropout(branch)). Where none of these acts, the branch's last product adds x itself.
class Residual {
 public:
  Residual() = default;
  explicit Residual(float drop_path, Var gamma = {}, float dropout = 0.0f)
      : gamma_(std::move(gamma)), drop_path_(drop_path), dropout_(dropout) {}
  /// `branch(skip)` gives its result, plus skip where that is defined.
  template <class Branch>
  Var operator()(const Context& ctx, const Var& x, const Branch& branch) const {
    const bool drops = ctx.train && (drop_path_ > 0 || dropout_ > 0);
    if (!drops && !gamma_.defined()) return branch(x);
    Var y = branch(Var());
    if (!drops) return layer_scale(ctx, y, gamma_, x);
    y = dropout(ctx, y, dropout_);
    if (gamma_.defined()) y = layer_scale(ctx, y, gamma_, Var());
    return add(ctx, x, drop_path(ctx, y, drop_path_));
  }

 private:
  Var gamma_;  // (C), LayerScale; undefined without
  float drop_path_ = 0.0f, dropout_ = 0.0f;
};

/// Multi-head self-attention over all tokens: `qkv` (3 C, C; rows q, k, v), `proj`.
class SelfAttention {
 public:
  SelfAttention() = default;
  SelfAttention(const Weights& w, std::int64_t width, std::int64_t heads, bool qkv_bias = true);
  /// x (B, N, C) -> the same, plus skip where that is defined. `row`, when given, gets the attention of token
  /// 0: (B, H, N).
  Var operator()(const Context& ctx, const Var& x, const Var& skip = {}, Tensor* row = nullptr) const;

 private:
  AttentionOptions options_;
  Linear qkv_, proj_;
};

/// Logits of a token, or the token itself where there are no classes. Shown under its name.
class Head {
 public:
  Head() = default;
  Head(const Weights& w, std::int64_t width, std::int64_t classes, const Linear::Options& options = {})
      : path_(w.path()) {
    if (classes > 0) linear_ = Linear(w, width, classes, options);
  }
  Var operator()(const Context& ctx, const Var& token) const {
    if (!linear_.defined()) return token;
    const Var logits = linear_(ctx, token);
    ctx.show([&] { return path_; }, logits);
    return logits;
  }

 private:
  std::string path_;
  Linear linear_;
};

/// What a head sees of the tokens (B, N, C) behind the last block: the first, or the mean of those behind a
/// prefix. Either all tokens are normed, by `norm`, or their mean alone, by `fc_norm`.
class FinalPool {
 public:
  struct Options {
    std::int64_t width = 0;
    float eps = 1e-6f;
    bool mean = false, norms_mean = false;
  };
  FinalPool() = default;
  FinalPool(const Weights& w, const Options& o)
      : options_(o), norm_(w / (o.norms_mean ? "fc_norm" : "norm"), o.width, o.eps) {}
  /// All tokens, normed unless their mean is.
  Var tokens(const Context& ctx, const Var& x) const {
    return options_.norms_mean ? x : ctx.shown("norm", norm_(ctx, x));
  }
  /// Of what tokens() gives: (B, C).
  Var operator()(const Context& ctx, const Var& x, std::int64_t prefix) const;

 private:
  Options options_;
  LayerNorm norm_;
};

/// A learned table (1, prefix + tokens, width) of a grid, by the rule that fits it to another
/// (parse_position_resize).
struct PositionTable {
  Grid grid;
  std::int64_t prefix = 0, width = 0;
  std::string resize = "none";
  std::string_view name = "pos_embed";
  bool decay = false;  ///< with the weight decay of its training
  LearnedAbsolute operator()(const Weights& w) const;
};

/// Throws Error unless x (B, N, C) holds the grid's tokens.
void require_grid(std::string_view op, const Var& x, Grid grid);

/// A layer of tokens on a grid as a family of its own, for oracle files of single layers: Layer(w, Config),
/// called with (ctx, x, grid, skip). The call's options height and width say the grid.
template <class C, class Layer>
class GridLayerOf final : public ModelOf<C> {
 public:
  GridLayerOf(const Family& family, C config, const Weights& w)
      : ModelOf<C>(family, std::move(config)), layer_(w, this->c()) {}
  static std::vector<std::string> call_options() { return {"height", "width"}; }
  std::vector<Port> inputs() const override {
    return {{"input", "B N C"},
            {"height", "", "rows of the grid", Port::Kind::option},
            {"width", "", "its columns", Port::Kind::option}};
  }
  std::vector<Port> outputs() const override { return {{"output", "B N C"}}; }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const Grid grid{1, in.number("height"), in.number("width")};
    require_grid(this->op(), in.at("input"), grid);
    return {{"output", layer_(ctx, in.at("input"), grid, Var())}};
  }

 private:
  Layer layer_;
};

/// Rows of a table of `vocabulary` tokens for ids (B, N), in their order. Throws Error under `op` for an id
/// that the table has not, and for no ids.
std::vector<std::int32_t> token_rows(std::string_view op, const Var& ids, std::int64_t vocabulary);

/// Keys that a mask (B, N) of 0 and 1 hides, nothing where it is undefined: lengths where the zeros are
/// padding at the end, else a mask of pairs. Throws Error under `op` when the mask has another shape.
void hide_keys(std::string_view op, const Var& mask, std::int64_t B, std::int64_t N,
               std::vector<std::int64_t>& key_lengths, AttentionVisibility& visibility);

/// Drop-path rates of `total` blocks, rising linearly from 0 to `last`.
std::vector<float> drop_rates(std::int64_t total, double last);

/// Heads of a plain transformer of this width where nobody tells: 64 channels each, but for a few released
/// widths. Throws Error where there are no such heads.
void assume_heads(std::string_view op, const NamedShapes& s, std::int64_t width, std::int64_t& heads);

/// width * ratio, rounded down as the official code does.
std::int64_t scaled_width(std::int64_t width, double ratio);

}  // namespace locant
