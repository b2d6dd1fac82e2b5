#include "verify/formula.h"

#include "core/parallel.h"

namespace locant {

Tensor formula_tensor(const Shape& shape, std::string_view name, double offset, double scale) {
  Tensor out(shape);
  const std::uint64_t hash = fnv1a64(name);
  float* values = out.data();
  parallel_for(out.numel(), 1 << 16, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      values[i] = static_cast<float>(offset + scale * formula_value(hash, static_cast<std::uint64_t>(i)));
  });
  return out;
}

}  // namespace locant
