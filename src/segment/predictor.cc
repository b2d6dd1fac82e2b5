#include "segment/predictor.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "core/error.h"
#include "core/finite.h"

namespace locant {
namespace {

constexpr const char* kPredictorOp = "segment";

constexpr double kFarthest = 1e9;  // pixels; what is further is a slip, and float32 has no pixels there

std::string text_of(const PromptBox& b) { return fmt::format("the box {},{},{},{}", b.x0, b.y0, b.x1, b.y1); }

bool places(std::initializer_list<double> coordinates) {
  return std::all_of(coordinates.begin(), coordinates.end(),
                     [](double x) { return std::abs(x) <= kFarthest; });  // false for NaN
}

bool inside(double x, double y, ImageSize picture) {
  return x >= 0 && y >= 0 && x <= static_cast<double>(picture.columns) &&
         y <= static_cast<double>(picture.rows);
}

void check_box(const PromptBox& b, const std::string& prefix) {
  require(places({b.x0, b.y0, b.x1, b.y1}), kPredictorOp, "{}{} is no place in a picture", prefix,
          text_of(b));
  require(b.x1 > b.x0 && b.y1 > b.y0, kPredictorOp, "{}{} is empty; it is left, top, right, bottom", prefix,
          text_of(b));
}

/// What stands before an error about a prompt.
std::string prefix_of(const SamPrompt& prompt) { return prompt.name.empty() ? "" : prompt.name + ": "; }

void check_mask_input(const SamPrompt& prompt, std::int64_t low) {
  const Tensor& mask = prompt.mask_input;
  if (mask.shape() != Shape({low, low}))
    fail(kPredictorOp,
         "{}a mask prompt of shape {}; the low-resolution logits of an earlier answer, ({}, {}), were "
         "expected",
         prefix_of(prompt), mask.shape().str(), low, low);
  const std::string bad = not_finite(mask);
  require(bad.empty(), kPredictorOp, "{}the mask prompt holds {}; logits are finite numbers",
          prefix_of(prompt), bad);
}

/// Low-resolution answers that are looked at in the picture's size row by row.
class LowResCandidates final : public CandidateMasks {
 public:
  explicit LowResCandidates(SamPrediction prediction)
      : prediction_(std::move(prediction)),
        upscaler_({prediction_.low_res.dim(2), prediction_.low_res.dim(3)}, prediction_.frame) {}
  std::int64_t count() const override { return prediction_.iou.numel(); }
  float predicted_iou(std::int64_t i) const override { return prediction_.iou[i]; }
  void rows(std::int64_t i, float floor, const MaskUpscaler::RowSink& sink) const override {
    const std::int64_t size = prediction_.low_res.dim(2) * prediction_.low_res.dim(3);
    upscaler_.rows(prediction_.low_res.values().subspan(static_cast<std::size_t>(i * size),
                                                        static_cast<std::size_t>(size)),
                   floor, sink);
  }

 private:
  SamPrediction prediction_;
  MaskUpscaler upscaler_;
};

/// All that check_sam_prompt looks at but whether something is asked.
void check_parts(const SamPrompt& prompt, std::int64_t image_size) {
  const std::string prefix = prefix_of(prompt);
  require(prompt.labels.size() == prompt.points.size(), kPredictorOp, "{}{} labels for {} points", prefix,
          prompt.labels.size(), prompt.points.size());
  require(prompt.box.size() <= 1, kPredictorOp, "{}{} boxes in one prompt; give each a prompt of its own",
          prefix, prompt.box.size());
  for (const int label : prompt.labels)
    require(label >= -1 && label <= 1, kPredictorOp,
            "{}a label of {}; there are 1 (inside), 0 (outside) and -1 (no point)", prefix, label);
  for (const PromptPoint& p : prompt.points)
    require(places({p.x, p.y}), kPredictorOp, "{}the point {},{} is no place in a picture", prefix, p.x, p.y);
  for (const PromptBox& box : prompt.box) check_box(box, prefix);
  if (prompt.mask_input.defined()) check_mask_input(prompt, image_size / 4);
}

}  // namespace

void check_sam_prompt(const SamPrompt& prompt, std::int64_t image_size) {
  check_parts(prompt, image_size);
  const bool points =
      std::any_of(prompt.labels.begin(), prompt.labels.end(), [](int label) { return label >= 0; });
  require(points || !prompt.box.empty() || prompt.mask_input.defined(), kPredictorOp,
          "{}nothing is asked: there is no point, no box and no mask", prefix_of(prompt));
}

std::string outside_of(const SamPrompt& prompt, ImageSize picture) {
  for (const PromptPoint& p : prompt.points)
    if (!inside(p.x, p.y, picture)) return fmt::format("the point {},{}", p.x, p.y);
  for (const PromptBox& b : prompt.box)
    if (!inside(b.x0, b.y0, picture) || !inside(b.x1, b.y1, picture)) return text_of(b);
  return {};
}

SamPredictor::SamPredictor(std::shared_ptr<const Sam> sam, const SamNormalisation& normalisation)
    : sam_(std::move(sam)), normalisation_(normalisation), transform_(sam_->image_size()) {}

void SamPredictor::set_image(const Image& image) {
  reset_image();
  require(sam_->has_image_encoder(), kPredictorOp,
          "only the decoder was loaded: set_embedding, or load the whole model");
  const Image resized = transform_.apply_image(image);
  const Tensor input = sam_input(resized, sam_->image_size(), normalisation_);
  const Tensor features = sam_->image_embedding({}, Var(input)).value();
  const std::string bad = not_finite(features);
  require(bad.empty(), kPredictorOp,
          "the embedding of this picture holds {}; are these the weights they should be?", bad);
  embedding_ = {features, {image.rows, image.columns}, {resized.rows, resized.columns}};
}

void SamPredictor::set_embedding(PictureEmbedding embedding) {
  if (embedding.features.shape() != sam_->embedding_shape())
    fail(kPredictorOp, "an embedding of shape {}; {} was expected", embedding.features.shape().str(),
         sam_->embedding_shape().str());
  require(transform_.target_size(embedding.original) == embedding.input, kPredictorOp,
          "an embedding of a {} x {} picture resized to {} x {}; that is not this model's size",
          embedding.original.columns, embedding.original.rows, embedding.input.columns, embedding.input.rows);
  const std::string bad = not_finite(embedding.features);
  require(bad.empty(), kPredictorOp, "an embedding that holds {}; nothing can be answered from it", bad);
  embedding_ = std::move(embedding);
}

void SamPredictor::reset_image() { embedding_ = {}; }

const PictureEmbedding& SamPredictor::embedding() const {
  require(is_image_set(), kPredictorOp, "no picture is set; set_image comes first");
  return embedding_;
}

SamFrame SamPredictor::frame() const { return {sam_->image_size(), embedding().input, embedding().original}; }

SamPrediction SamPredictor::answer(const SamPrompts& prompts, bool several, const std::string& prefix) const {
  const SamMasks out =
      sam_->decode({}, Var(embedding().features), sam_->encode_prompts({}, prompts), several);
  for (const auto& [what, numbers] : {std::pair{"masks", out.masks}, std::pair{"predicted IoU", out.iou}}) {
    const std::string bad = not_finite(numbers.value());
    require(bad.empty(), kPredictorOp, "{}the answer's {} hold {}; are these the weights they should be?",
            prefix, what, bad);
  }
  return {out.masks.value(), out.iou.value(), frame()};
}

SamPrediction SamPredictor::predict(const SamPrompt& prompt, bool multimask_output) const {
  const ImageSize picture = embedding().original;
  check_parts(prompt, sam_->image_size());
  SamPrompts prompts;
  if (const auto P = static_cast<std::int64_t>(prompt.points.size()); P > 0) {
    prompts.points = Tensor({1, P, 2});
    prompts.labels = Tensor({1, P});
    const std::vector<PromptPoint> points = transform_.apply_coords(prompt.points, picture);
    for (std::int64_t p = 0; p < P; ++p) {
      const auto at = static_cast<std::size_t>(p);
      prompts.points[2 * p] = static_cast<float>(points[at].x);
      prompts.points[2 * p + 1] = static_cast<float>(points[at].y);
      prompts.labels[p] = static_cast<float>(prompt.labels[at]);
    }
  }
  if (!prompt.box.empty()) {
    const PromptBox box = transform_.apply_boxes(prompt.box, picture)[0];
    prompts.boxes =
        Tensor::from({1, 4}, std::vector<float>{static_cast<float>(box.x0), static_cast<float>(box.y0),
                                                static_cast<float>(box.x1), static_cast<float>(box.y1)});
  }
  if (prompt.mask_input.defined()) {
    const std::int64_t low = sam_->image_size() / 4;
    prompts.mask = Var(prompt.mask_input.reshaped({1, 1, low, low}));
  }
  return answer(prompts, multimask_output, prefix_of(prompt));
}

SamPrediction SamPredictor::predict_boxes(std::span<const PromptBox> boxes, bool multimask_output) const {
  const ImageSize picture = embedding().original;
  require(!boxes.empty(), kPredictorOp, "no boxes");
  for (std::size_t b = 0; b < boxes.size(); ++b)
    check_box(boxes[b], fmt::format("box {} of {}: ", b + 1, boxes.size()));
  SamPrompts prompts;
  prompts.boxes = Tensor({static_cast<std::int64_t>(boxes.size()), 4});
  float* to = prompts.boxes.data();
  for (const PromptBox& box : transform_.apply_boxes(boxes, picture))
    for (const double x : {box.x0, box.y0, box.x1, box.y1}) *to++ = static_cast<float>(x);
  return answer(prompts, multimask_output, "");
}

std::unique_ptr<CandidateMasks> SamPredictor::predict(std::span<const PromptPoint> points) {
  const auto B = static_cast<std::int64_t>(points.size());
  require(B > 0, kPredictorOp, "no points");
  SamPrompts prompts;
  prompts.points = Tensor({B, 1, 2});
  prompts.labels = Tensor::full({B, 1}, 1.0f);
  float* to = prompts.points.data();
  for (const PromptPoint& p : transform_.apply_coords(points, embedding().original)) {
    *to++ = static_cast<float>(p.x);
    *to++ = static_cast<float>(p.y);
  }
  return std::make_unique<LowResCandidates>(answer(prompts, true, ""));
}

}  // namespace locant
