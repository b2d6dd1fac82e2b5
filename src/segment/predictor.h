#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/sam.h"
#include "segment/embedding_cache.h"
#include "segment/mask.h"
#include "segment/mask_generator.h"
#include "segment/postprocess.h"
#include "segment/transforms.h"

namespace locant {

/// What one answer is asked for, in pixels of the picture. Points and boxes may lie outside of it: as in the
/// official code they are scaled and nothing else.
struct SamPrompt {
  std::vector<PromptPoint> points = {};
  std::vector<int> labels = {};     ///< 1 inside, 0 outside, -1 no point; one a point
  std::vector<PromptBox> box = {};  ///< one at most
  Tensor mask_input = {};           ///< (image_size / 4, image_size / 4): low_res of an earlier answer
  std::string name = {};            ///< begins errors about it: "prompt 2 of 3"
};

/// Answers to B prompts, M masks each.
struct SamPrediction {
  Tensor low_res;  ///< (B, M, image_size / 4, image_size / 4), logits
  Tensor iou;      ///< (B, M), predicted
  SamFrame frame;

  /// Logits at the picture's size, (B, M, rows, columns): the official return_logits.
  Tensor logits() const { return postprocess_masks(low_res, frame); }
  /// Masks at the picture's size, B M of them.
  std::vector<Mask> masks(float threshold = 0.0f) const {
    return postprocess_binary_masks(low_res, frame, threshold);
  }
};

/// Official name and behaviour: segment_anything/predictor.py. Encodes a picture once, then answers prompts.
/// Not for several threads at once.
class SamPredictor final : public PointPredictor {
 public:
  explicit SamPredictor(std::shared_ptr<const Sam> sam, const SamNormalisation& normalisation = {});

  /// Resizes, normalises, pads and encodes. Throws Error when the model was loaded without its image encoder,
  /// for a picture without pixels, too large, or too thin, and when what comes out is not finite.
  void set_image(const Image& image) override;
  /// Instead of set_image: what a cache held. Throws Error when it is not of this model's shape, or not
  /// finite.
  void set_embedding(PictureEmbedding embedding);
  void reset_image() override;
  bool is_image_set() const { return embedding_.features.defined(); }
  /// Throws Error when no picture is set.
  const PictureEmbedding& embedding() const;

  /// Three masks, or one. A prompt that asks nothing is answered, as the official predictor does. Throws
  /// Error when no picture is set, the prompt is else as check_sam_prompt refuses it, or the answer is not
  /// finite.
  SamPrediction predict(const SamPrompt& prompt, bool multimask_output = true) const;
  /// A prompt of its own for each box.
  SamPrediction predict_boxes(std::span<const PromptBox> boxes, bool multimask_output = true) const;
  /// For the mask generator: three masks for each point.
  std::unique_ptr<CandidateMasks> predict(std::span<const PromptPoint> points) override;

 private:
  SamFrame frame() const;
  SamPrediction answer(const SamPrompts& prompts, bool several, const std::string& prefix) const;

  std::shared_ptr<const Sam> sam_;
  SamNormalisation normalisation_;
  ResizeLongestSide transform_;
  PictureEmbedding embedding_;
};

/// For the mask generator, where the whole picture's embedding is there already: crops alone are encoded.
class CachedPredictor final : public PointPredictor {
 public:
  /// Without crops the decoder of `sam` is enough.
  CachedPredictor(std::shared_ptr<const Sam> sam, PictureEmbedding whole)
      : predictor_(std::move(sam)), whole_(std::move(whole)) {}
  void set_image(const Image& crop) override {
    ImageSize{crop.rows, crop.columns} == whole_.original ? predictor_.set_embedding(whole_)
                                                          : predictor_.set_image(crop);
  }
  void reset_image() override { predictor_.reset_image(); }
  std::unique_ptr<CandidateMasks> predict(std::span<const PromptPoint> points) override {
    return predictor_.predict(points);
  }

 private:
  SamPredictor predictor_;
  PictureEmbedding whole_;
};

/// Throws Error for a prompt that asks nothing (no point that counts, no box, no mask), labels that do not
/// fit the points, a box without area, coordinates beyond 1e9 pixels or not finite, and a mask of another
/// size than image_size / 4 (the encoder's) or not finite.
void check_sam_prompt(const SamPrompt& prompt, std::int64_t image_size);

/// "the point 460,120" or "the box ..", the first that does not lie in the picture whole; empty where all do.
std::string outside_of(const SamPrompt& prompt, ImageSize picture);

}  // namespace locant
