#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"
#include "models/sam_prompt_encoder.h"
#include "segment/postprocess.h"
#include "segment/rle.h"

namespace locant {

/// An object of a picture that a mask decoder learns.
struct SegmentObject {
  std::size_t picture = 0;  ///< index into SegmentData::pictures
  Rle mask;                 ///< on the grid of low-resolution masks, padding included as background
};

struct SegmentPicture {
  std::string path;
  std::string key;  ///< picture_key of the file
  SamFrame frame;
};

/// Pictures with the masks of their objects: FOLDER/images/NAME.EXT and FOLDER/masks/NAME.png (or .tif,
/// .tiff, .pgm, .ppm, .webp), where 0 or black is background and each other number, palette index or colour
/// one object (io/labels.h).
struct SegmentData {
  std::vector<SegmentPicture> pictures;
  std::vector<SegmentObject> objects;
  std::vector<std::string> notes;  ///< lines for people: what was left out and why
};

/// Decodes every picture and mask once, so that mistakes show before hours of encoding. `low`: sides of the
/// low-resolution masks; objects that cover no cell of them are left out. Throws Error when a folder is
/// missing, a mask has another size than its picture or more than 4,096 objects, or nothing is left.
SegmentData read_segment_data(const std::string& folder, std::int64_t image_size, std::int64_t low);

/// Masks of objects as 0 and 1: (objects, low * low).
Tensor target_masks(const std::vector<const SegmentObject*>& objects, std::int64_t low);

/// Prompts for a mask of `low` x `low` cells in the encoder's frame: one to three points inside, or the box
/// with corners moved by a normal of a tenth of its side, at most 20 pixels (Kirillov et al. 2023, appendix
/// A).
void add_point_prompt(const Mask& mask, std::int64_t image_size, std::int64_t points, Rng& rng, float* xy);
void add_box_prompt(const Mask& mask, std::int64_t image_size, Rng* rng, float* xyxy);
/// The cell of the mask nearest to its centre of gravity, as a point.
void add_centre_prompt(const Mask& mask, std::int64_t image_size, float* xy);

}  // namespace locant
