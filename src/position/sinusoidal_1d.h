#pragma once

// Sinusoidal position encoding of a sequence. Vaswani et al. 2017, "Attention Is All You Need", section 3.5:
//
//   interleaved   pe[2t] = sin(pos w_t), pe[2t + 1] = cos(pos w_t), w_t = T^(-2t / C)
//   halves        pe[t]  = sin(pos w_t), pe[C/2 + t] = cos(pos w_t), w_t = T^(-2t / C)
//   t2t           as halves with w_t = T^(-t / (C/2 - 1)); an odd C ends in a zero
//
// interleaved is the paper's, and the Conformers'; halves Transformer-XL's; t2t that of tensor2tensor,
// fairseq and Whisper. An odd width of the first two ends in a sine.
//
// Enters: tokens; Transformer-XL and the Conformer put it through a projection instead. Shapes: (1, N, C). No
// parameters, no gradient. Cost: one addition a token and channel, N C sines for the table.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace locant {

enum class SinusoidLayout { interleaved, halves, t2t };

// ---- index arithmetic

/// A channel: the sine or cosine of position times frequency.
struct SinusoidChannel {
  double frequency;
  bool sine;
  double at(double position) const {
    return sine ? std::sin(position * frequency) : std::cos(position * frequency);
  }
};

/// The channel of a code C wide; T is the temperature.
inline SinusoidChannel sinusoidal_1d_channel(SinusoidLayout layout, std::int64_t channel, std::int64_t C,
                                             double temperature = 10000.0) {
  const bool neighbours = layout == SinusoidLayout::interleaved, t2t = layout == SinusoidLayout::t2t;
  const std::int64_t sines = t2t ? C / 2 : (C + 1) / 2;
  const bool sine = neighbours ? channel % 2 == 0 : channel < sines;
  const std::int64_t t = neighbours ? channel / 2 : sine ? channel : channel - sines;
  if (t2t && t >= sines) return {0.0, true};
  const double exponent =
      t2t ? static_cast<double>(t) / static_cast<double>(std::max<std::int64_t>(sines - 1, 1))
          : 2.0 * static_cast<double>(t) / static_cast<double>(C);
  return {std::pow(temperature, -exponent), sine};
}

// ---- the table

/// (1, N, C) for N positions, in float64 and rounded once. Throws Error on a width below 1 or a temperature
/// that is not positive.
Tensor sinusoidal_1d(SinusoidLayout layout, const std::vector<double>& positions, std::int64_t C,
                     double temperature = 10000.0);

/// Positions 0 to N - 1.
Tensor sinusoidal_1d(SinusoidLayout layout, std::int64_t N, std::int64_t C, double temperature = 10000.0);

}  // namespace locant
