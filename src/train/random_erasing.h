#pragma once

#include <cstdint>
#include <string>

#include "core/rng.h"

namespace locant {

/// What an erased box becomes.
enum class EraseMode {
  constant,  ///< "const": 0, the mean where the picture is normalised
  rand,      ///< a standard normal number for each channel
  pixel      ///< one for each channel and pixel
};
/// "const", "rand", "pixel". Throws Error for another name.
EraseMode parse_erase_mode(const std::string& name);

/// Random erasing (Zhong et al. 2020) as timm's RandomErasing: with `probability`, U{1 ... count} boxes of
///   area = U(0.02, 1/3) rows columns / boxes, aspect = exp(U(log 0.3, log 1/0.3)),
///   rows' = round(sqrt(area aspect)), columns' = round(sqrt(area / aspect)), anywhere in the picture,
/// each tried ten times until both sides are smaller than the picture's. `picture` is normalised: (channels,
/// rows, columns).
void random_erasing(float* picture, std::int64_t channels, std::int64_t rows, std::int64_t columns,
                    double probability, EraseMode mode, std::int64_t count, Rng& rng);

}  // namespace locant
