#include "segment/stability.h"

#include <algorithm>

namespace locant {

StabilityScore::StabilityScore(double threshold, double offset)
    : high_(static_cast<float>(threshold + offset)), low_(static_cast<float>(threshold - offset)) {}

void StabilityScore::add(std::span<const float> logits) {
  // Counts of a piece in 32 bits: the loop then runs four pixels at a time.
  constexpr std::size_t kPiece = 1 << 20;
  for (std::size_t at = 0; at < logits.size(); at += kPiece) {
    std::int32_t high = 0, low = 0;
    for (const float logit : logits.subspan(at, std::min(kPiece, logits.size() - at))) {
      high += logit > high_ ? 1 : 0;
      low += logit > low_ ? 1 : 0;
    }
    above_high_ += high;
    above_low_ += low;
  }
}

float StabilityScore::score() const {
  return static_cast<float>(above_high_) / static_cast<float>(above_low_);
}

}  // namespace locant
