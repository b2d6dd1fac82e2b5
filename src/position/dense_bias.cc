#include "position/dense_bias.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {
namespace {

constexpr const char* kDenseBiasName = "dense_bias";

// Throws Error on NaN and +inf. A number for every pair is read here on every call: no branch a number.
void check_numbers(const Tensor& bias) {
  const float* x = bias.data();
  std::atomic<bool> fine = true;
  parallel_for(bias.numel(), 1 << 16, [&](std::int64_t begin, std::int64_t end) {
    int odd = 0;
    for (std::int64_t n = begin; n < end; ++n) odd |= x[n] < HUGE_VALF ? 0 : 1;  // NaN is not below either
    if (odd != 0) fine = false;
  });
  if (fine) return;
  const auto found = std::find_if(bias.values().begin(), bias.values().end(),
                                  [](float number) { return !(number < HUGE_VALF); });
  fail(kDenseBiasName, "the bias of shape {} holds {}", bias.shape().str(), *found);
}

}  // namespace

AttentionTerm dense_bias_term(const DenseBias& dense, std::int64_t B, std::int64_t heads, std::int64_t Nq,
                              std::int64_t Nk) {
  const Shape full{B, 1, heads, Nq, Nk};
  require(dense.bias.defined(), kDenseBiasName,
          "the bias is missing; numbers that spread over {} were expected", full.str());
  const Shape& shape = dense.bias.shape();
  const int rank = shape.rank();
  bool fits = rank == 2 || rank == 3 || rank == 5;
  for (int axis = 0; fits && axis < rank; ++axis) {
    const std::int64_t extent = shape[axis], whole = full[axis + 5 - rank];
    fits = extent == whole || (extent == 1 && axis + 1 < rank);
  }
  if (!fits)
    fail(kDenseBiasName,
         "a bias of shape {} does not spread over {}; (Nq, Nk), (H, Nq, Nk) and (B, 1, H, Nq, Nk) do, with "
         "extents of 1 shared but for the last",
         shape.str(), full.str());
  check_numbers(dense.bias.value());
  return dense_term(dense.bias);
}

}  // namespace locant
