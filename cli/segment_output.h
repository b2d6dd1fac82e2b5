#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/image.h"
#include "segment/mask.h"
#include "segment/rle.h"

namespace locant::cli {

/// A mask of the picture's size with what is known about it.
struct SegmentMask {
  Rle rle;
  float predicted_iou = 0.0f;
  std::int64_t prompt = -1;  ///< which prompt it answers; -1: none (--everything)
  std::string id = {};       ///< the prompt's own, as JSON; empty without one
  std::optional<float> stability_score = {};
  std::vector<PromptPoint> point_coords = {};
  std::optional<std::array<std::int64_t, 4>> crop_box = {};
};

/// White where the mask is.
Image mask_picture(const Mask& mask);
/// Each mask in a colour of its own on black, larger ones first.
Image masks_picture(ImageSize size, const std::vector<SegmentMask>& masks);
/// The picture with each mask in a colour of its own, larger ones first, and a darker edge.
Image overlay_picture(const Image& picture, const std::vector<SegmentMask>& masks);
/// One JSON object: the picture's name and sides, and the masks as the official generator's records
/// (segmentation with compressed counts, area, bbox, predicted_iou, and what else is known). `model`: an
/// object's fields that say how the model was read.
std::string masks_json(const std::string& picture, ImageSize size, const std::vector<SegmentMask>& masks,
                       const std::string& model);
/// A COCO data set (images, annotations, categories) of one picture and one category, "object", as
/// pycocotools loads it: boxes are extents, ids count from 1, and each annotation has the generator's fields
/// beside COCO's. Masks without a pixel, which no box goes around, are left out.
std::string coco_json(const std::string& picture, ImageSize size, const std::vector<SegmentMask>& masks);

}  // namespace locant::cli
