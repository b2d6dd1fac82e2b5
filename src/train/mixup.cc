#include "train/mixup.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "train/random_streams.h"

namespace locant {
namespace {

/// In (0, 1), 53 bits.
double open_uniform(Rng& rng) { return (static_cast<double>(rng.next() >> 11) + 0.5) * 0x1p-53; }

/// log Gamma(a)
double draw_log_gamma(double a, Rng& rng) {
  if (a < 1.0) {
    const double whole = draw_log_gamma(a + 1.0, rng);
    return whole + std::log(open_uniform(rng)) / a;
  }
  const double d = a - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = static_cast<double>(rng.normal()), root = 1.0 + c * x;
    const double u = open_uniform(rng);
    if (root <= 0.0) continue;
    const double v = root * root * root;
    if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v);
  }
}

ResizeWindow minmax_box(std::int64_t rows, std::int64_t columns, const std::vector<double>& minmax,
                        Rng& rng) {
  const auto side = [&](std::int64_t of) {
    const auto least = static_cast<std::int64_t>(static_cast<double>(of) * minmax[0]);
    const auto end = static_cast<std::int64_t>(static_cast<double>(of) * minmax[1]);
    return least + static_cast<std::int64_t>(
                       rng.below(static_cast<std::uint64_t>(std::max<std::int64_t>(end - least, 1))));
  };
  const auto begin = [&](std::int64_t of, std::int64_t length) {
    return static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(of - length + 1)));
  };
  ResizeWindow box;
  box.rows = side(rows);
  box.columns = side(columns);
  box.top = begin(rows, box.rows);
  box.left = begin(columns, box.columns);
  return box;
}

Mix draw_mix(std::int64_t rows, std::int64_t columns, const AugmentOptions& options, Rng& rng) {
  Mix mix;
  if (!happens(rng, options.mixup_prob)) return mix;
  const double cutmix = options.cutmix_minmax.empty() ? options.cutmix : 1.0;
  mix.cut = cutmix > 0.0 && (options.mixup == 0.0 || happens(rng, options.mixup_switch_prob));
  mix.share = draw_beta(mix.cut ? cutmix : options.mixup, rng);
  if (!mix.cut) return mix;
  if (options.cutmix_minmax.empty()) {
    const auto row = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(rows)));
    const auto column = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(columns)));
    mix.box = cutmix_box(rows, columns, mix.share, row, column);
  } else {
    mix.box = minmax_box(rows, columns, options.cutmix_minmax, rng);
  }
  mix.share = 1.0 - static_cast<double>(mix.box.rows * mix.box.columns) / static_cast<double>(rows * columns);
  return mix;
}

bool holds(const ResizeWindow& box, std::int64_t y, std::int64_t x) {
  return y >= box.top && y < box.top + box.rows && x >= box.left && x < box.left + box.columns;
}

}  // namespace

double draw_beta(double a, Rng& rng) {
  const double x = draw_log_gamma(a, rng), y = draw_log_gamma(a, rng);
  return 1.0 / (1.0 + std::exp(y - x));
}

ResizeWindow cutmix_box(std::int64_t rows, std::int64_t columns, double share, std::int64_t centre_row,
                        std::int64_t centre_column) {
  const double ratio = std::sqrt(1.0 - share);
  const auto cut_rows = static_cast<std::int64_t>(static_cast<double>(rows) * ratio);
  const auto cut_columns = static_cast<std::int64_t>(static_cast<double>(columns) * ratio);
  ResizeWindow box;
  box.top = std::max<std::int64_t>(centre_row - cut_rows / 2, 0);
  box.left = std::max<std::int64_t>(centre_column - cut_columns / 2, 0);
  box.rows = std::min(centre_row + (cut_rows + 1) / 2, rows) - box.top;
  box.columns = std::min(centre_column + (cut_columns + 1) / 2, columns) - box.left;
  return box;
}

std::vector<Mix> draw_mixes(std::int64_t batch, std::int64_t rows, std::int64_t columns,
                            const AugmentOptions& options, Rng& rng) {
  const auto count = static_cast<std::size_t>(batch);
  if (!options.mixes()) return std::vector<Mix>(count);
  if (options.mixup_mode == "batch") return std::vector<Mix>(count, draw_mix(rows, columns, options, rng));
  std::vector<Mix> out(count);
  const bool pairs = options.mixup_mode == "pair";
  for (std::size_t i = 0; i < (pairs ? count / 2 : count); ++i) {
    out[i] = draw_mix(rows, columns, options, rng);
    if (pairs) out[count - 1 - i] = out[i];
  }
  return out;
}

void apply_mixes(Tensor& pictures, const std::vector<Mix>& mixes) {
  require(pictures.shape().rank() == 4 && pictures.dim(0) == static_cast<std::int64_t>(mixes.size()),
          "augment", "{} mixes for pictures of shape {}", mixes.size(), pictures.shape().str());
  const std::int64_t batch = pictures.dim(0), rows = pictures.dim(2), columns = pictures.dim(3);
  const std::int64_t lines = pictures.dim(1) * rows;
  const auto mixed = [](const Mix& mix, float x, float y, std::int64_t row, std::int64_t column) {
    if (mix.cut) return holds(mix.box, row, column) ? y : x;
    return x * static_cast<float>(mix.share) + y * static_cast<float>(1.0 - mix.share);
  };
  // A pair at once, so that each sees the other as it was.
  const std::int64_t grain = std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(lines * columns, 1));
  parallel_for((batch + 1) / 2, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t j = batch - 1 - i;
      const Mix &mix_a = mixes[static_cast<std::size_t>(i)], &mix_b = mixes[static_cast<std::size_t>(j)];
      if (mix_a.share == 1.0 && mix_b.share == 1.0) continue;
      float *a = pictures.data() + i * lines * columns, *b = pictures.data() + j * lines * columns;
      for (std::int64_t line = 0; line < lines; ++line)
        for (std::int64_t column = 0; column < columns; ++column, ++a, ++b) {
          const float x = *a, y = *b;
          *a = mixed(mix_a, x, y, line % rows, column);
          *b = mixed(mix_b, y, x, line % rows, column);
        }
    }
  });
}

}  // namespace locant
