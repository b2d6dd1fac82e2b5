#include "position/fourier.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "position/shared/sequence.h"
#include "position/sincos.h"

namespace locant {

Var fourier_position(const Context& ctx, const Var& weight, const Var& bias, std::int64_t rows,
                     std::int64_t columns, double temperature) {
  const Shape& shape = weight.shape();
  const std::int64_t C = shape.rank() >= 2 ? shape[0] : 0, width = shape.rank() >= 2 ? shape[1] : 0;
  if (C < 1 || width < 4 || width % 4 != 0 || shape.numel() != C * width || bias.shape() != Shape{C})
    fail("fourier", "a projection {} with bias {}; (C, 2 d) with even d and (C) were expected", shape.str(),
         bias.shape().str());
  const Tensor code = sincos_2d(rows, columns, width, temperature, SinCosFlavour::detr);
  check_table("fourier", "weight", weight, shape);
  check_table("fourier", "bias", bias, {C});
  return linear(ctx, Var(code), reshape(ctx, weight, {C, width}), bias);
}

}  // namespace locant
