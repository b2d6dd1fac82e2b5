#include "position/all.h"

#include <algorithm>

#include "core/error.h"
#include "position/absolute_3d.h"
#include "position/alibi.h"
#include "position/axial_concat.h"
#include "position/axial_deeplab.h"
#include "position/beit_bias.h"
#include "position/conformer.h"
#include "position/conv_ff.h"
#include "position/conv_projection.h"
#include "position/cosine_attention.h"
#include "position/deberta.h"
#include "position/decomposed.h"
#include "position/dense_bias.h"
#include "position/dynamic_bias.h"
#include "position/fourier.h"
#include "position/global_subsampled.h"
#include "position/gpsa.h"
#include "position/huang2020.h"
#include "position/irpe.h"
#include "position/joint_2d.h"
#include "position/kerple.h"
#include "position/learned_absolute.h"
#include "position/levit_bias.h"
#include "position/linear_attention.h"
#include "position/music_transformer.h"
#include "position/natten.h"
#include "position/peg.h"
#include "position/relative_logits.h"
#include "position/rope.h"
#include "position/rope_2d.h"
#include "position/sasa.h"
#include "position/shaw.h"
#include "position/sincos.h"
#include "position/sinusoidal_1d.h"
#include "position/spatial_reduction.h"
#include "position/swin_bias.h"
#include "position/swin_v2_cpb.h"
#include "position/t5_bucket.h"
#include "position/temporal_bias.h"
#include "position/transformer_xl.h"
#include "position/video_swin_bias.h"

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
