#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/image.h"
#include "models/load.h"

namespace locant::cli {

/// What a model sees in one picture.
struct PictureFeatures {
  std::string name;  ///< file name without folder and extension, as printable()
  Image photo;       ///< at the size that went into the model
  Tensor cls;        ///< (C)
  Tensor patches;    ///< (rows, columns, C); of a clip (frames, rows, columns, C)
  /// Of a pyramid every stage's map, finest first, the last being `patches`; else none.
  std::vector<Tensor> stages;
  std::vector<std::int64_t> strides;  ///< pixels of the input a token of each stage
  Tensor attention;  ///< (H, rows, columns), class token to patches in the last layer; undefined without one
  std::int64_t rows = 0, columns = 0;  ///< of the picture as it was read
  std::string preprocessing;           ///< JSON: what made `photo` of it, and the model's input of that
  double preprocess_s = 0.0, inference_s = 0.0;
};

/// A path's file name without folder and extension; "stdin" of "-".
std::string picture_name(const std::string& path);

/// The picture, with its aspect, at a short side of `short_side` pixels, both sides rounded to whole patches
/// of the model; 0: as loaded.preprocess has it. Segment Anything's pictures have its own size at their long
/// side whatever is asked; they are padded, and what is of the padding is cut away again. `path` gives the
/// name. Throws Error, also for features that are not finite.
PictureFeatures picture_features(const LoadedModel& loaded, const Image& picture, const std::string& path,
                                 std::int64_t short_side);

/// The frames, each as loaded.preprocess has it, as one clip. `path` gives the name. Throws Error as
/// picture_features does, and for a model of pictures.
PictureFeatures clip_features(const LoadedModel& loaded, const std::vector<Image>& frames,
                              const std::string& path);

/// A row a picture: the photo; the first three principal components of the patch features of all pictures
/// together as red, green and blue; the attention over the grey photo, its mean over the heads as heat (where
/// the model has one). Deterministic: a component's sign is the one that makes its largest weight positive.
Image feature_panels(const std::vector<PictureFeatures>& pictures);

}  // namespace locant::cli
