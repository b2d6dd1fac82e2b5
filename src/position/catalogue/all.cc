#include "position/catalogue/all.h"

#include <string>

#include "core/error.h"

namespace locant {

const std::vector<const Encoding*>& encodings() {
  static const std::vector<const Encoding*> all = {
      // tokens
      &kSinusoidal1d,
      &kSincos,
      &kFourier,
      &kLearnedAbsolute,
      &kAbsolute3d,
      &kPeg,
      // q and k
      &kRope,
      &kRope2d,
      &kCosineAttention,
      // score, table
      &kSwinBias,
      &kSwinV2Cpb,
      &kTemporalBias,
      &kVideoSwinBias,
      &kBeitBias,
      &kLevitBias,
      &kNatten,
      &kT5Bucket,
      &kAlibi,
      &kKerple,
      &kDynamicBias,
      &kDenseBias,
      // score, query or key times table
      &kDecomposed,
      &kJoint2d,
      &kRelativeLogits,
      &kShaw,
      &kTransformerXl,
      &kMusicTransformer,
      &kHuang2020,
      &kDeberta,
      &kConformer,
      &kIrpe,
      // value
      &kAxialDeeplab,
      &kSasa,
      &kAxialConcat,
      // own softmax
      &kGpsa,
      // kernelised
      &kLinearAttention,
      // projection side
      &kSpatialReduction,
      &kGlobalSubsampled,
      &kConvProjection,
      &kConvFf,
  };
  return all;
}

const Encoding& find_encoding(std::string_view name) {
  for (const Encoding* encoding : encodings())
    if (encoding->name == name) return *encoding;
  std::string near;
  for (const Encoding* encoding : encodings()) {
    const std::string_view other = encoding->name;
    if (other.find(name) != std::string_view::npos || name.find(other) != std::string_view::npos ||
        other.substr(0, 3) == name.substr(0, 3))
      near += (near.empty() ? "; near it: " : ", ") + std::string(other);
  }
  fail("encodings", "nothing is called {}{}; locant list encodings shows all {}", name, near,
       encodings().size());
}

}  // namespace locant
