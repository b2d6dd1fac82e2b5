#include "core/finite.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>

#include "core/parallel.h"

namespace locant {
namespace {

constexpr std::uint32_t kExponent = 0x7f800000;         // all set: NaN or infinite
constexpr std::int64_t kBlock = 4096;                   // numbers that one test looks at: in the first cache
constexpr std::int64_t kGrain = std::int64_t{1} << 18;  // a thread's least share

bool bad(float x) { return (std::bit_cast<std::uint32_t>(x) & kExponent) == kExponent; }

/// Without a branch, so that the compiler makes vectors of it.
bool any_bad(const float* values, std::int64_t count) {
  std::uint32_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) found |= static_cast<std::uint32_t>(bad(values[i]));
  return found != 0;
}

}  // namespace

std::int64_t first_not_finite(std::span<const float> values) {
  const auto count = static_cast<std::int64_t>(values.size());
  std::atomic<std::int64_t> first{count};
  parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t at = begin; at < end && at < first.load(std::memory_order_relaxed); at += kBlock) {
      const std::int64_t n = std::min(kBlock, end - at);
      if (!any_bad(values.data() + at, n)) continue;
      const float* found = std::find_if(values.data() + at, values.data() + at + n, bad);
      std::int64_t least = first.load(), mine = found - values.data();
      while (mine < least && !first.compare_exchange_weak(least, mine)) {
      }
      return;
    }
  });
  return first == count ? -1 : first.load();
}

std::string not_finite(const Tensor& tensor) {
  const std::int64_t first = first_not_finite(tensor.values());
  if (first < 0) return {};
  std::string place;
  std::int64_t rest = first;
  for (int axis = tensor.shape().rank() - 1; axis >= 0; --axis) {
    place = std::to_string(rest % tensor.dim(axis)) + (place.empty() ? "" : ", ") + place;
    rest /= tensor.dim(axis);
  }
  return fmt::format("{} at ({})", tensor[first], place);
}

}  // namespace locant
