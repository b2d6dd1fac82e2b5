#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "io/image.h"
#include "io/pil_ops.h"
#include "io/pil_resize.h"

namespace locant {

/// RandAugment (Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search
/// space") as timm has it: `layers` operations, each applied with `probability` at the level N(magnitude,
/// magnitude_std), held in [0, magnitude_max].
struct RandAugment {
  std::int64_t magnitude = 10;
  std::int64_t layers = 2;
  double probability = 0.5;
  double magnitude_std = 0.0;  ///< infinite: the level is U(0, magnitude)
  std::int64_t magnitude_max = 10;
  bool increasing = false;  ///< every operation changes more at a higher level
  /// Operations are drawn by timm's table of weights, none twice; then all are increasing.
  bool weighted = false;
};

/// timm's text: "rand", then in any order -mM magnitude, -nN layers, -pP probability, -mstdS standard
/// deviation (above 100: infinite), -mmaxM, -inc1 or -inc0, -tweights; as "rand-m9-mstd0.5-inc1". Throws
/// Error for anything else.
RandAugment parse_rand_augment(std::string_view text);

/// In timm's order.
enum class RandOp {
  auto_contrast,
  equalize,
  invert,
  rotate,
  posterize,
  solarize,
  solarize_add,
  color,
  contrast,
  brightness,
  sharpness,
  shear_x,
  shear_y,
  translate_x,
  translate_y
};
inline constexpr int kRandOps = 15;
/// timm's name of it: "AutoContrast", ..., "TranslateYRel".
std::string_view rand_op_name(RandOp op);

/// What an operation takes at level l of 10: degrees, bits, a threshold, a factor, a part of the side. With
/// `negate` the change is to the other side where there is one.
///   rotate +-3 l; shear +-0.03 l; translate +-0.045 l
///   color, contrast, brightness, sharpness 0.1 + 0.18 l; increasing max(0.1, 1 +- 0.09 l)
///   posterize int(0.4 l) bits; increasing 4 - int(0.4 l)
///   solarize from int(25.6 l) on, at most 256; increasing 256 minus that
///   solarize_add int(11 l), at most 128
double rand_op_argument(RandOp op, double level, bool increasing, bool negate);
/// Shears, translations and rotations interpolate with `filter` and fill with `fill`.
Image apply_rand_op(Image image, RandOp op, double argument, ResizeFilter filter, const Colour& fill);

/// The operations that a picture gets, before their probability. Throws Error where more are asked for than
/// there are to draw without repetition.
std::vector<RandOp> draw_rand_ops(const RandAugment& options, Rng& rng);
/// `filter`: none draws bilinear or bicubic for each operation.
Image rand_augment(Image image, const RandAugment& options, std::optional<ResizeFilter> filter,
                   const Colour& fill, Rng& rng);

}  // namespace locant
