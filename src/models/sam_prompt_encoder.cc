#include "models/sam_prompt_encoder.h"

#include <cmath>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/family.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

constexpr const char* kOp = "sam_prompt_encoder";
constexpr double kTwoPi = 6.283185307179586;
// Rows of the table of kinds.
constexpr std::int32_t kNotAPoint = 4, kFirstCorner = 2;

/// A norm over the channels of images (B, C, H, W).
Var norm_images(const Context& ctx, const LayerNorm& norm, const Var& x) {
  return tokens_to_images(ctx, norm(ctx, images_to_tokens(ctx, x)), x.dim(2), x.dim(3));
}

template <class Archive, class Config>
void list_fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size, at_least(1));
  a.field("grid", c.grid, at_least(1));
  a.field("dim", c.dim);
  a.field("mask_chans", c.mask_chans);
  a.field("norm_eps", c.norm_eps);
  a.only("act", "gelu");
}

}  // namespace

void fields(ConfigReader& reader, SamPromptEncoderConfig& config) { list_fields(reader, config); }
void fields(ConfigWriter& writer, const SamPromptEncoderConfig& config) { list_fields(writer, config); }
void fields(ConfigPrint& print, const SamPromptEncoderConfig& config) { list_fields(print, config); }

void check(const std::string& op, const SamPromptEncoderConfig& c) {
  require(c.dim >= 4 && c.dim % 2 == 0 && c.mask_chans >= 4 && c.mask_chans % 4 == 0, op,
          "dim {} must be even, 4 at least, and mask_chans {} a multiple of 4", c.dim, c.mask_chans);
}

std::vector<Port> SamPrompts::ports() {
  const auto port = [](const char* name, const char* axes, const char* note) {
    return Port{.name = name, .axes = axes, .note = note, .optional = true};
  };
  return {port("points", "B P 2", "x and y in pixels of the encoder's frame"),
          port("labels", "B P", "1 inside, 0 outside, -1 no point"),
          port("boxes", "B 4", "x0 y0 x1 y1 in pixels of the encoder's frame"),
          port("mask_input", "B 1 H W", "low-resolution logits of an earlier answer")};
}

SamPrompts SamPrompts::from(const Values& in) {
  const auto numbers = [&](const char* name) {
    const Var value = in.get(name);
    return value.defined() ? value.value() : Tensor();
  };
  return {numbers("points"), numbers("labels"), numbers("boxes"), in.get("mask_input")};
}

std::int64_t SamPrompts::batch() const {
  std::int64_t B = -1;
  const auto agree = [&](const char* what, std::int64_t count) {
    require(B < 0 || B == count, kOp, "{} {} beside {} of other prompts", count, what, B);
    B = count;
  };
  require(points.defined() == labels.defined(), kOp, "points need labels, and labels points");
  if (points.defined()) {
    const Shape& s = points.shape();
    require(s.rank() == 3 && s[2] == 2 && labels.shape().rank() == 2 && labels.dim(0) == s[0] &&
                labels.dim(1) == s[1],
            kOp, "points of shape {} and labels of shape {}; (B, P, 2) and (B, P) were expected", s.str(),
            labels.shape().str());
    for (const float label : labels.values())
      require(label == 1.0f || label == 0.0f || label == -1.0f, kOp,
              "a label of {}; there are 1 (inside), 0 (outside) and -1 (no point)", label);
    agree("sets of points", s[0]);
  }
  if (boxes.defined()) {
    require(boxes.shape().rank() == 2 && boxes.dim(1) == 4, kOp, "boxes of shape {}; (B, 4) was expected",
            boxes.shape().str());
    agree("boxes", boxes.dim(0));
  }
  if (mask.defined()) {
    require(mask.shape().rank() == 4 && mask.dim(1) == 1, kOp,
            "masks of shape {}; (B, 1, rows, columns) was expected", mask.shape().str());
    agree("masks", mask.dim(0));
  }
  return B < 0 ? 1 : B;
}

SamPromptEncoder::SamPromptEncoder(const Family& family, SamPromptEncoderConfig config, const Weights& w)
    : ModelOf(family, std::move(config)), path_(w.path()) {
  const std::int64_t C = c().dim, M = c().mask_chans;
  const float eps = c().norm_eps;
  matrix_ = (w / "pe_layer").buffer("positional_encoding_gaussian_matrix", {2, C / 2}, Init::normal(1.0f));
  for (std::int64_t kind = 0; kind < 4; ++kind)
    kinds_[kind] =
        (w / "point_embeddings" / kind).get("weight", {1, C}, Init::normal(1.0f), {.decay = false});
  not_a_point_ = (w / "not_a_point_embed").get("weight", {1, C}, Init::normal(1.0f), {.decay = false});
  no_mask_ = (w / "no_mask_embed").get("weight", {1, C}, Init::normal(1.0f), {.decay = false});
  const Weights down = w / "mask_downscaling";
  conv1_ = Conv2d(down / 0, 1, M / 4, Conv2d::square(2, 2));
  norm1_ = LayerNorm(down / 1, M / 4, eps);
  conv2_ = Conv2d(down / 3, M / 4, M, Conv2d::square(2, 2));
  norm2_ = LayerNorm(down / 4, M, eps);
  conv3_ = Conv2d(down / 6, M, C, Conv2d::square(1));
}

/// x and y in [0, 1].
void SamPromptEncoder::put_positions(double x, double y, float* to) const {
  const std::int64_t half = c().dim / 2;
  const float* G = matrix_.value().data();
  for (std::int64_t c = 0; c < half; ++c) {
    const double angle = kTwoPi * ((2.0 * x - 1.0) * G[c] + (2.0 * y - 1.0) * G[half + c]);
    to[c] = static_cast<float>(std::sin(angle));
    to[half + c] = static_cast<float>(std::cos(angle));
  }
}

Tensor SamPromptEncoder::image_positions() const {
  const std::int64_t half = c().dim / 2, rows = c().grid.rows, columns = c().grid.columns;
  const float* G = matrix_.value().data();
  // sin and cos of what each axis adds to the angle, (side, half); those of the sum follow from them.
  struct Waves {
    std::vector<double> sine, cosine;
  };
  const auto along = [half](std::int64_t side, const float* g) {
    Waves out;
    for (std::int64_t n = 0; n < side; ++n)
      for (std::int64_t c = 0; c < half; ++c) {
        const double at = 2.0 * (static_cast<double>(n) + 0.5) / static_cast<double>(side) - 1.0;
        out.sine.push_back(std::sin(kTwoPi * at * static_cast<double>(g[c])));
        out.cosine.push_back(std::cos(kTwoPi * at * static_cast<double>(g[c])));
      }
    return out;
  };
  const Waves x = along(columns, G), y = along(rows, G + half);
  Tensor out({1, rows * columns, 2 * half});
  for (std::int64_t n = 0; n < rows * columns; ++n) {
    const std::int64_t i = n % columns * half, j = n / columns * half;
    const double *sx = x.sine.data() + i, *cx = x.cosine.data() + i;
    const double *sy = y.sine.data() + j, *cy = y.cosine.data() + j;
    float* to = out.data() + n * 2 * half;
    for (std::int64_t c = 0; c < half; ++c) {
      to[c] = static_cast<float>(sx[c] * cy[c] + cx[c] * sy[c]);
      to[half + c] = static_cast<float>(cx[c] * cy[c] - sx[c] * sy[c]);
    }
  }
  return out;
}

Var SamPromptEncoder::points(const Context& ctx, const SamPrompts& prompts) const {
  const std::int64_t B = prompts.batch(), C = c().dim;
  const std::int64_t given = prompts.points.defined() ? prompts.points.dim(1) : 0;
  // Points without a box get one that is none: training always saw two kinds at least.
  const bool closes = prompts.points.defined() && !prompts.boxes.defined();
  const std::int64_t corners = prompts.boxes.defined() ? 2 : 0;
  const std::int64_t S = given + (closes ? 1 : 0) + corners;
  if (S == 0) return Var(Tensor({B, 0, C}));
  Tensor positions = Tensor::zeros({B * S, C});
  std::vector<std::int32_t> kinds;
  // Pixels have their centres at half coordinates.
  const auto put = [&](const float* point, std::int32_t kind) {
    float* to = positions.data() + static_cast<std::int64_t>(kinds.size()) * C;
    if (kind != kNotAPoint)
      put_positions((static_cast<double>(point[0]) + 0.5) / static_cast<double>(c().img_size.columns),
                    (static_cast<double>(point[1]) + 0.5) / static_cast<double>(c().img_size.rows), to);
    kinds.push_back(kind);
  };
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t p = 0; p < given; ++p) {
      const float label = prompts.labels[b * given + p];
      put(prompts.points.data() + (b * given + p) * 2,
          label < 0.0f ? kNotAPoint : static_cast<std::int32_t>(label));
    }
    if (closes) put(nullptr, kNotAPoint);
    for (std::int32_t corner = 0; corner < corners; ++corner)
      put(prompts.boxes.data() + b * 4 + 2 * corner, kFirstCorner + corner);
  }
  const Var table = concat_axis(ctx, {kinds_[0], kinds_[1], kinds_[2], kinds_[3], not_a_point_}, 0);
  return reshape(ctx, add(ctx, gather_rows(ctx, table, kinds), Var(std::move(positions))), {B, S, C});
}

Var SamPromptEncoder::downscaled(const Context& ctx, const Var& mask) const {
  require(mask.dim(2) == 4 * c().grid.rows && mask.dim(3) == 4 * c().grid.columns, kOp,
          "a mask prompt of {}x{}; the low-resolution logits of {}x{} were expected", mask.dim(2),
          mask.dim(3), 4 * c().grid.rows, 4 * c().grid.columns);
  Var x = gelu(ctx, norm_images(ctx, norm1_, conv1_(ctx, mask)));
  x = conv3_(ctx, gelu(ctx, norm_images(ctx, norm2_, conv2_(ctx, x))));
  ctx.show([&] { return join_path(path_, "mask_downscaling"); }, x);
  return images_to_tokens(ctx, x);
}

SamPromptEmbedding SamPromptEncoder::operator()(const Context& ctx, const SamPrompts& prompts) const {
  SamPromptEmbedding out;
  out.sparse = points(ctx, prompts);
  out.dense =
      prompts.mask.defined() ? downscaled(ctx, prompts.mask) : reshape(ctx, no_mask_, {1, 1, c().dim});
  return out;
}

std::vector<Port> SamPromptEncoder::outputs() const {
  return {{"sparse", "B S C", "points, then the corners of the box"},
          {"dense", "B C H W", "the mask, or that there is none"},
          {"dense_pe", "1 C H W", "positions of the image embedding"}};
}

Values SamPromptEncoder::compute(const Context& ctx, const Values& in) const {
  const SamPrompts prompts = SamPrompts::from(in);
  const SamPromptEmbedding out = (*this)(ctx, prompts);
  const std::int64_t rows = c().grid.rows, columns = c().grid.columns;
  const Var zeros(Tensor::zeros({prompts.batch(), rows * columns, c().dim}));
  return {{"sparse", out.sparse},
          {"dense", tokens_to_images(ctx, add_broadcast(ctx, zeros, out.dense), rows, columns)},
          {"dense_pe", tokens_to_images(ctx, Var(image_positions()), rows, columns)}};
}

namespace {

std::vector<Renames> renames() {
  Renames out;
  out.naming = "segment-anything";
  out.prefix = "prompt_encoder.";
  out.unused = {"image_encoder.*", "mask_decoder.*", "pixel_mean", "pixel_std"};
  return {out};
}

}  // namespace

const Family kSamPromptEncoder = family<SamPromptEncoder, nullptr, renames>("sam_prompt_encoder");

}  // namespace locant
