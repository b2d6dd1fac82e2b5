#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/error.h"
#include "io/image.h"
#include "segment/postprocess.h"
#include "segment/rle.h"

namespace locant {

/// Masks that a model proposes for a batch of points, as logits at the crop's size. Candidate i belongs to
/// point i / (masks a point).
class CandidateMasks {
 public:
  virtual ~CandidateMasks() = default;
  virtual std::int64_t count() const = 0;
  virtual float predicted_iou(std::int64_t i) const = 0;
  /// Rows in order; what is nowhere above `floor` may be left out (MaskUpscaler::rows). Called from several
  /// threads at once.
  virtual void rows(std::int64_t i, float floor, const MaskUpscaler::RowSink& sink) const = 0;
};

/// What the mask generator needs of a predictor.
class PointPredictor {
 public:
  virtual ~PointPredictor() = default;
  /// The crop that the points of predict() refer to.
  virtual void set_image(const Image& crop) = 0;
  virtual void reset_image() = 0;
  /// Several masks for each foreground point, given in pixels of the crop.
  virtual std::unique_ptr<CandidateMasks> predict(std::span<const PromptPoint> points) = 0;
  virtual float mask_threshold() const { return 0.0f; }
};

/// Names and defaults of the official SamAutomaticMaskGenerator.
struct MaskGeneratorOptions {
  std::int64_t points_per_side = 32;
  std::int64_t points_per_batch = 64;
  double pred_iou_thresh = 0.88;         ///< candidates at or below it go; 0 or less: none go
  double stability_score_thresh = 0.95;  ///< candidates below it go; 0 or less: none go
  double stability_score_offset = 1.0;   ///< of the logits, both ways
  double box_nms_thresh = 0.7;           ///< within a crop
  std::int64_t crop_n_layers = 0;        ///< layer i cuts the picture into 2^i x 2^i crops
  double crop_nms_thresh = 0.7;          ///< between crops
  double crop_overlap_ratio = 512.0 / 1500.0;
  std::int64_t crop_n_points_downscale_factor = 1;
  /// Points of the unit square for each layer, instead of points_per_side.
  std::vector<std::vector<PromptPoint>> point_grids = {};
  std::int64_t min_mask_region_area = 0;  ///< holes and islands below it go; 0: none
};

/// One mask with what is known about it; fields as in the official records.
struct MaskRecord {
  Rle segmentation;
  std::int64_t area = 0;
  std::array<std::int64_t, 4> bbox{};  ///< x, y, x1 - x0, y1 - y0 of inclusive pixel indices
  float predicted_iou = 0.0f;
  std::vector<PromptPoint> point_coords;  ///< the one point that gave it
  float stability_score = 0.0f;
  std::array<std::int64_t, 4> crop_box{};  ///< x, y, width, height
};

struct MaskGeneratorProgress {
  std::size_t crop = 0, crops = 0;             ///< done of all
  std::int64_t points = 0, points_in_all = 0;  ///< prompts answered, over all crops
  std::size_t candidates = 0;                  ///< masks that passed the filters so far
};

/// Masks for everything in a picture: a grid of points in each crop, filters by predicted IoU, stability and
/// nearness to the crop's edge, non-maximum suppression of boxes, small regions removed. Official source:
/// segment_anything/automatic_mask_generator.py. A mask of the picture's size is never held: candidates
/// become run lengths row by row.
class MaskGenerator {
 public:
  /// Throws Error for options out of range.
  explicit MaskGenerator(std::shared_ptr<PointPredictor> predictor, MaskGeneratorOptions options = {});

  /// Called after each batch of points; false stops. In the caller's thread.
  using Progress = std::function<bool(const MaskGeneratorProgress&)>;
  /// Records, best of the last suppression first; empty when nothing passes. Throws Cancelled, and Error for
  /// a picture without pixels or too thin to crop.
  std::vector<MaskRecord> generate(const Image& image, const Progress& progress = {}) const;

 private:
  struct Candidate {
    Rle rle;
    PixelBox box;   ///< of the crop while it is worked on, then of the picture
    PixelBox crop;  ///< x1, y1 exclusive
    PromptPoint point;
    float predicted_iou = 0.0f, stability_score = 0.0f;
    bool passed = false;   ///< all filters
    bool changed = false;  ///< by the removal of small regions
  };
  using Candidates = std::vector<Candidate>;

  Candidates examine_batch(const CandidateMasks& masks, std::span<const PromptPoint> points,
                           const PixelBox& crop, ImageSize picture) const;
  void examine(const CandidateMasks& masks, std::int64_t i, ImageSize picture, Candidate& out) const;
  Candidates process_crop(const Image& image, const PixelBox& crop, std::span<const PromptPoint> grid,
                          MaskGeneratorProgress& state, const Progress& progress) const;
  Candidates remove_regions(Candidates candidates) const;

  std::shared_ptr<PointPredictor> predictor_;
  MaskGeneratorOptions options_;
  std::vector<std::vector<PromptPoint>> grids_;  ///< by layer
};

}  // namespace locant
