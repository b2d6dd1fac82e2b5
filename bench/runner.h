#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace locant::bench {

/// Shortest time seen: on a shared machine the one that was disturbed least.
struct Best {
  double seconds = std::numeric_limits<double>::infinity();
  void add(double measured) { seconds = measured < seconds ? measured : seconds; }
};

/// Normal numbers.
Tensor random_tensor(const Shape& shape, std::uint64_t seed);

/// Seconds of one call, steady clock.
double seconds_of(const std::function<void()>& call);

/// Calls the sides of a ratio in turn, A B C A B C ..., so that a slow spell of the machine meets all of
/// them: until `seconds` have passed, and at least `rounds` times each. A side's turn lasts 30 ms at least,
/// so that a short one gets as warm as a long one.
void interleave(const std::vector<std::function<void()>>& sides, double seconds, int rounds = 3);

/// One measurement; fields that are 0 do not apply.
struct Row {
  std::string name;
  std::string pass;  ///< "forward", "backward", "forward+backward"
  std::string precision = "f32";
  std::int64_t batch = 1;
  double ms = 0.0;
  double gflops = 0.0;         ///< 1e9 operations a second
  double over_matmul = 0.0;    ///< share of oneDNN's matmul rate
  double over_composed = 0.0;  ///< how many times as fast as the composed path
  double peak_mb = 0.0;        ///< 1e6 bytes
  double images_per_s = 0.0;
  std::int64_t parameters = 0;
  double gmac = 0.0;       ///< 1e9 multiply-adds a forward pass of one picture (ProfileEntry::multiply_adds)
  std::string model = {};  ///< how it was read: fields of a JSON object
};

/// One JSON object without newline: name pass precision isa threads batch ms gflops over_matmul over_composed
/// peak_mb images_per_s parameters gmac, as they apply.
std::string row_json(const Row& row);
/// Fixed-width columns for people, and their heading.
std::string row_text(const Row& row);
std::string row_heading();

}  // namespace locant::bench
