#pragma once

#include <string_view>
#include <vector>

#include "position/catalogue/encoding.h"

namespace locant {

// tokens
extern const Encoding kSinusoidal1d, kSincos, kFourier, kLearnedAbsolute, kAbsolute3d, kPeg;
// q and k
extern const Encoding kRope, kRope2d, kCosineAttention;
// score, table
extern const Encoding kSwinBias, kSwinV2Cpb, kTemporalBias, kVideoSwinBias, kBeitBias, kLevitBias, kNatten,
    kT5Bucket, kAlibi, kKerple, kDynamicBias, kDenseBias;
// score, query or key times table
extern const Encoding kDecomposed, kJoint2d, kRelativeLogits, kShaw, kTransformerXl, kMusicTransformer,
    kHuang2020, kDeberta, kConformer, kIrpe;
// value
extern const Encoding kAxialDeeplab, kSasa, kAxialConcat;
// own softmax
extern const Encoding kGpsa;
// kernelised
extern const Encoding kLinearAttention;
// projection side
extern const Encoding kSpatialReduction, kGlobalSubsampled, kConvProjection, kConvFf;

/// Every encoding, in the order of the documentation: tests, command line, benchmarks and docs read this
/// list.
const std::vector<const Encoding*>& encodings();

/// Throws Error that names near misses when there is none.
const Encoding& find_encoding(std::string_view name);

}  // namespace locant
