#pragma once

// Sinusoidal position encoding of a sequence. Vaswani et al. 2017, "Attention Is All You Need", section 3.5:
//
//   interleaved   pe[2t] = sin(pos w_t), pe[2t + 1] = cos(pos w_t),  w_t = T^(-2t / C)          the paper's
//   halves        pe[t] = sin(pos w_t),  pe[C/2 + t] = cos(pos w_t), w_t = T^(-2t / C) Transformer-XL t2t
//   pe[t] = sin(pos w_t),  pe[C/2 + t] = cos(pos w_t), w_t = T^(-t / (C/2 - 1))   tensor2tensor,
//                 an odd C ends in a zero                                                       fairseq,
//                 Whisper
//
// Enters: tokens; Transformer-XL and the Conformer put it through a projection instead. Shapes: (1, N, C). No
// parameters, no gradient. Cost: one addition a token and channel. An odd width of the first two ends in a
// sine.

#include <cmath>
#include <cstdint>

#include "core/tensor.h"
#include "position/encoding.h"

namespace locant {

enum class SinusoidLayout { interleaved, halves, t2t };

/// The number at `position` and `channel` of a code C wide; T is the temperature. In float64, rounded once by
/// whoever stores it.
inline double sinusoidal_1d_value(SinusoidLayout layout, double position, std::int64_t channel,
                                  std::int64_t C, double temperature = 10000.0) {
  const bool neighbours = layout == SinusoidLayout::interleaved;
  const std::int64_t sines = layout == SinusoidLayout::t2t ? C / 2 : (C + 1) / 2;
  const bool sine = neighbours ? channel % 2 == 0 : channel < sines;
  const std::int64_t t = neighbours ? channel / 2 : sine ? channel : channel - sines;
  if (layout == SinusoidLayout::t2t && t >= C / 2) return 0.0;
  const double exponent = layout == SinusoidLayout::t2t
                              ? (C / 2 > 1 ? static_cast<double>(t) / static_cast<double>(C / 2 - 1) : 0.0)
                              : 2.0 * static_cast<double>(t) / static_cast<double>(C);
  const double angle = position * std::pow(temperature, -exponent);
  return sine ? std::sin(angle) : std::cos(angle);
}

/// Positions first, first + step, ...: (1, N, C). Throws Error on negative sizes or a width below 1.
Tensor sinusoidal_1d(SinusoidLayout layout, std::int64_t N, std::int64_t C, double first = 0.0,
                     double step = 1.0, double temperature = 10000.0);

extern const Encoding kSinusoidal1d;

}  // namespace locant
