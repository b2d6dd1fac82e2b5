#pragma once

#include <cstdint>
#include <span>

namespace locant {

/// How little a mask depends on its threshold, as the official calculate_stability_score: pixels above
/// threshold + offset over pixels above threshold - offset, in float32. NaN where the latter is 0. Logits
/// come in pieces of any size; those at or below floor() need not come at all.
class StabilityScore {
 public:
  StabilityScore(double threshold, double offset);
  float floor() const { return low_; }
  void add(std::span<const float> logits);
  float score() const;

 private:
  float high_, low_;
  std::int64_t above_high_ = 0, above_low_ = 0;
};

}  // namespace locant
