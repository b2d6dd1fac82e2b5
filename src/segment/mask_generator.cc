#include "segment/mask_generator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/parallel.h"
#include "segment/crops.h"
#include "segment/nms.h"
#include "segment/small_regions.h"
#include "segment/stability.h"

namespace locant {
namespace {

constexpr const char* kMaskGeneratorOp = "mask_generator";

void check(const MaskGeneratorOptions& options) {
  require(options.points_per_batch >= 1 && options.points_per_batch <= 1 << 20, kMaskGeneratorOp,
          "points_per_batch {}: 1 to {} is allowed", options.points_per_batch, 1 << 20);
  for (const double number :
       {options.pred_iou_thresh, options.stability_score_thresh, options.stability_score_offset,
        options.box_nms_thresh, options.crop_nms_thresh}) {
    require(std::isfinite(number), kMaskGeneratorOp, "a threshold of {}: finite numbers are allowed", number);
  }
  require(options.min_mask_region_area >= 0, kMaskGeneratorOp,
          "min_mask_region_area {}: 0 or more is allowed", options.min_mask_region_area);
  for (const auto& grid : options.point_grids) {
    for (const PromptPoint& point : grid)
      require(point.x >= 0.0 && point.x <= 1.0 && point.y >= 0.0 && point.y <= 1.0, kMaskGeneratorOp,
              "grid point ({}, {}): both lie in 0 ... 1", point.x, point.y);
  }
}

Image cut_out(const Image& image, const PixelBox& crop) {
  Image out{crop.y1 - crop.y0, crop.x1 - crop.x0, {}};
  out.rgb.resize(static_cast<std::size_t>(3 * out.rows * out.columns));
  for (std::int64_t y = 0; y < out.rows; ++y) {
    std::copy_n(image.rgb.data() + 3 * ((y + crop.y0) * image.columns + crop.x0), 3 * out.columns,
                out.rgb.data() + 3 * y * out.columns);
  }
  return out;
}

/// Suppression by score(candidate); what stays, best first.
template <class Candidates, class Score>
Candidates suppress(Candidates candidates, double threshold, Score&& score) {
  std::vector<PixelBox> boxes;
  std::vector<float> scores;
  for (const auto& candidate : candidates) {
    boxes.push_back(candidate.box);
    scores.push_back(score(candidate));
  }
  Candidates out;
  for (const std::size_t i : box_nms(boxes, scores, threshold)) out.push_back(std::move(candidates[i]));
  return out;
}

}  // namespace

MaskGenerator::MaskGenerator(std::shared_ptr<PointPredictor> predictor, MaskGeneratorOptions options)
    : predictor_(std::move(predictor)), options_(std::move(options)) {
  check(options_);
  generate_crop_boxes({1 << 14, 1 << 14}, options_.crop_n_layers, options_.crop_overlap_ratio);
  grids_ = options_.point_grids;
  if (grids_.empty())
    grids_ = build_all_layer_point_grids(options_.points_per_side, options_.crop_n_layers,
                                         options_.crop_n_points_downscale_factor);
  require(static_cast<std::int64_t>(grids_.size()) == options_.crop_n_layers + 1, kMaskGeneratorOp,
          "{} point grids for {} crop layers: one for the whole picture and one a layer are needed",
          grids_.size(), options_.crop_n_layers);
}

std::vector<MaskRecord> MaskGenerator::generate(const Image& image, const Progress& progress) const {
  const ImageSize picture{image.rows, image.columns};
  const CropBoxes crops = generate_crop_boxes(picture, options_.crop_n_layers, options_.crop_overlap_ratio);
  require(image.rgb.size() == static_cast<std::size_t>(3 * image.rows * image.columns), kMaskGeneratorOp,
          "{} bytes are no picture of {} x {} pixels", image.rgb.size(), image.columns, image.rows);
  MaskGeneratorProgress state;
  state.crops = crops.boxes.size();
  for (const std::int64_t layer : crops.layers)
    state.points_in_all += static_cast<std::int64_t>(grids_[static_cast<std::size_t>(layer)].size());

  Candidates found;
  for (std::size_t i = 0; i < crops.boxes.size(); ++i) {
    const auto& grid = grids_[static_cast<std::size_t>(crops.layers[i])];
    Candidates more = process_crop(image, crops.boxes[i], grid, state, progress);
    std::move(more.begin(), more.end(), std::back_inserter(found));
    state.crop = i + 1;
  }
  // Masks of smaller crops win.
  if (crops.boxes.size() > 1)
    found = suppress(std::move(found), options_.crop_nms_thresh, [](const Candidate& c) {
      return 1.0f / static_cast<float>((c.crop.x1 - c.crop.x0) * (c.crop.y1 - c.crop.y0));
    });
  if (options_.min_mask_region_area > 0) found = remove_regions(std::move(found));

  std::vector<MaskRecord> records;
  records.reserve(found.size());
  for (Candidate& candidate : found) {
    const std::int64_t area = area_from_rle(candidate.rle);
    records.push_back({std::move(candidate.rle),
                       area,
                       box_xyxy_to_xywh(candidate.box),
                       candidate.predicted_iou,
                       {candidate.point},
                       candidate.stability_score,
                       box_xyxy_to_xywh(candidate.crop)});
  }
  return records;
}

MaskGenerator::Candidates MaskGenerator::process_crop(const Image& image, const PixelBox& crop,
                                                      std::span<const PromptPoint> grid,
                                                      MaskGeneratorProgress& state,
                                                      const Progress& progress) const {
  const ImageSize picture{image.rows, image.columns};
  const auto width = static_cast<double>(crop.x1 - crop.x0), height = static_cast<double>(crop.y1 - crop.y0);
  std::vector<PromptPoint> points;
  for (const PromptPoint& point : grid) points.push_back({point.x * width, point.y * height});
  predictor_->set_image(cut_out(image, crop));
  Candidates found;
  const std::size_t before = state.candidates;
  for (std::size_t at = 0; at < points.size();) {
    const std::size_t n = std::min(points.size() - at, static_cast<std::size_t>(options_.points_per_batch));
    const std::span<const PromptPoint> batch = std::span(points).subspan(at, n);
    Candidates more = examine_batch(*predictor_->predict(batch), batch, crop, picture);
    std::move(more.begin(), more.end(), std::back_inserter(found));
    at += n;
    state.points += static_cast<std::int64_t>(n);
    state.candidates = before + found.size();
    if (progress && !progress(state)) {
      predictor_->reset_image();
      throw Cancelled(fmt::format("[{}] stopped after {} of {} points", kMaskGeneratorOp, state.points,
                                  state.points_in_all));
    }
  }
  predictor_->reset_image();
  found =
      suppress(std::move(found), options_.box_nms_thresh, [](const Candidate& c) { return c.predicted_iou; });
  for (Candidate& candidate : found) {
    candidate.box = uncrop_box(candidate.box, crop);
    candidate.point = uncrop_point(candidate.point, crop);
  }
  return found;
}

MaskGenerator::Candidates MaskGenerator::examine_batch(const CandidateMasks& masks,
                                                       std::span<const PromptPoint> points,
                                                       const PixelBox& crop, ImageSize picture) const {
  const std::int64_t count = masks.count(), a_point = count / static_cast<std::int64_t>(points.size());
  require(a_point >= 1 && count % static_cast<std::int64_t>(points.size()) == 0, kMaskGeneratorOp,
          "{} masks for {} points", count, points.size());
  // The threshold is rounded to float32 before it is compared, as the official tensors have it.
  const auto least_iou = static_cast<float>(options_.pred_iou_thresh);
  std::vector<std::int64_t> chosen;
  for (std::int64_t i = 0; i < count; ++i)
    if (options_.pred_iou_thresh <= 0.0 || masks.predicted_iou(i) > least_iou) chosen.push_back(i);
  Candidates examined(chosen.size());
  parallel_for(static_cast<std::int64_t>(chosen.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      Candidate& candidate = examined[static_cast<std::size_t>(k)];
      candidate.crop = crop;
      candidate.point = points[static_cast<std::size_t>(chosen[k] / a_point)];
      examine(masks, chosen[k], picture, candidate);
    }
  });
  Candidates out;
  for (Candidate& candidate : examined)
    if (candidate.passed) out.push_back(std::move(candidate));
  return out;
}

/// One pass over the logits gives stability and run lengths at once.
void MaskGenerator::examine(const CandidateMasks& masks, std::int64_t i, ImageSize picture,
                            Candidate& out) const {
  const float threshold = predictor_->mask_threshold();
  StabilityScore stability(threshold, options_.stability_score_offset);
  RleBuilder builder(picture);
  std::vector<std::uint8_t> bits;
  const PixelBox& crop = out.crop;
  masks.rows(i, std::min(threshold, stability.floor()),
             [&](std::int64_t y, std::int64_t x0, std::span<const float> logits) {
               stability.add(logits);
               bits.resize(logits.size());
               for (std::size_t x = 0; x < logits.size(); ++x) bits[x] = logits[x] > threshold ? 1 : 0;
               builder.row(y + crop.y0, x0 + crop.x0, bits);
             });
  out.predicted_iou = masks.predicted_iou(i);
  out.stability_score = stability.score();
  if (options_.stability_score_thresh > 0.0 &&
      !(out.stability_score >= static_cast<float>(options_.stability_score_thresh)))
    return;
  out.rle = builder.finish();
  out.box =
      area_from_rle(out.rle) > 0 ? uncrop_box(rle_to_box(out.rle), {-crop.x0, -crop.y0, 0, 0}) : PixelBox{};
  out.passed = !is_box_near_crop_edge(out.box, crop, {0, 0, picture.columns, picture.rows});
}

/// Official postprocess_small_regions: masks that stay as they are win over changed ones.
MaskGenerator::Candidates MaskGenerator::remove_regions(Candidates candidates) const {
  const auto area = static_cast<double>(options_.min_mask_region_area);
  parallel_for(static_cast<std::int64_t>(candidates.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      Candidate& candidate = candidates[static_cast<std::size_t>(i)];
      Mask mask = rle_to_mask(candidate.rle);
      candidate.changed = remove_small_regions(mask, area, RegionMode::holes);
      candidate.changed |= remove_small_regions(mask, area, RegionMode::islands);
      if (candidate.changed) candidate.rle = mask_to_rle(mask);
      candidate.box = rle_to_box(candidate.rle);
    }
  });
  return suppress(std::move(candidates), std::max(options_.box_nms_thresh, options_.crop_nms_thresh),
                  [](const Candidate& candidate) { return candidate.changed ? 0.0f : 1.0f; });
}

}  // namespace locant
