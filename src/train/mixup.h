#pragma once

#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"
#include "io/pil_resize.h"
#include "train/augment.h"

namespace locant {

/// Beta(a, a) in [0, 1], a > 0: X / (X + Y) of two Gamma(a) numbers by Marsaglia and Tsang 2000, "A simple
/// method for generating gamma variables"; for a < 1 Gamma(a) = Gamma(a + 1) U^(1/a), kept as a logarithm.
double draw_beta(double a, Rng& rng);

/// What becomes of a picture x of a batch whose picture from the other end is y.
struct Mix {
  double share = 1.0;  ///< l: how much of it is x; mixup: l x + (1 - l) y
  bool cut = false;    ///< cutmix: y within the box, x elsewhere
  ResizeWindow box{};
};

/// Cutmix's box (Yun et al. 2019) for `share` of x: sides int(side sqrt(1 - share)), begun half of that
/// (rounded down) before the centre, cut off at the picture's edges; may be empty.
ResizeWindow cutmix_box(std::int64_t rows, std::int64_t columns, double share, std::int64_t centre_row,
                        std::int64_t centre_column);

/// One mix for each picture of a batch, as timm's Mixup: with mixup_prob, mixup (Zhang et al. 2018) or
/// cutmix, where both are on the latter with mixup_switch_prob, l ~ Beta(a, a); l of cutmix is then the
/// part that the box leaves. Drawn once for the batch ("batch"), for each picture ("elem"), or for each
/// picture and the one from the other end together ("pair"). With cutmix_minmax the box has sides of U(min,
/// max) of the picture's, anywhere in it.
std::vector<Mix> draw_mixes(std::int64_t batch, std::int64_t rows, std::int64_t columns,
                            const AugmentOptions& options, Rng& rng);
/// Picture i of (B, C, rows, columns) is mixed with picture B - 1 - i as both were, in place. The same bits
/// for any number of threads.
void apply_mixes(Tensor& pictures, const std::vector<Mix>& mixes);

}  // namespace locant
