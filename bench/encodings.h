#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "position/catalogue/all.h"

namespace locant::bench {

/// Self-attention whose cost without an encoding is the unit: B groups of side^2 tokens.
struct EncodingShape {
  const char* name;
  std::int64_t B, H, side, D;
};
/// "vit_b": 12 heads, 32 x 32 tokens, d 64. "swin_stage1": 64 windows of 7 x 7 tokens, 3 heads, d 32.
const std::vector<EncodingShape>& encoding_shapes();

/// An encoding, and one of the variants that its cases name; empty: the usual one.
struct EncodingChoice {
  const Encoding* encoding;
  std::string variant;
  std::string name() const;  ///< "irpe", "irpe:product"
};
/// The usual one first.
std::vector<std::string> encoding_variants(const Encoding& encoding);

/// Milliseconds of the best pass, and bytes in use at once beyond inputs and parameters.
struct PassCost {
  double forward_ms = 0.0, both_ms = 0.0;  ///< both: forward and backward, all gradients
  std::int64_t forward_bytes = 0, both_bytes = 0;
};

/// `none` is the fused kernel without an encoding, causal where the encoding is. 0: not measured.
struct EncodingCost {
  std::string name;
  std::string shape;
  bool causal = false;
  PassCost none = {}, fused = {}, composed = {};
};

/// Fused, composed and none in turn, for `seconds`. Throws Error when the variant does not suit the shape.
EncodingCost bench_encoding(const EncodingChoice& choice, const EncodingShape& shape, double seconds,
                            bool composed);

}  // namespace locant::bench
