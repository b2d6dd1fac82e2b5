#include "segment/postprocess.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {
namespace {

constexpr std::int64_t kMaxPixels = 1 << 28;

void check_size(ImageSize size, const char* what) {
  require(size.rows >= 1 && size.columns >= 1 && size.rows <= kMaxPixels / size.columns, "postprocess_masks",
          "{} of {} x {} pixels: sides start at 1, {} pixels are the most", what, size.columns, size.rows,
          kMaxPixels);
}

/// Bilinear, align_corners false: output i of `out` from `in` samples is (1 - t) x[index] + t x[next].
struct Lerp {
  std::int64_t index, next;
  double t;
};

Lerp lerp_at(std::int64_t i, std::int64_t in, std::int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double source = std::max((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0);
  const auto index = std::min(static_cast<std::int64_t>(source), in - 1);
  return {index, std::min(index + 1, in - 1), source - static_cast<double>(index)};
}

/// out[x] = sum of weights[k] rows[k][x]; a weight of its own loop each, so that it runs over registers.
void mix_rows(const std::array<const float*, 4>& rows, const std::array<float, 4>& weights, int count,
              std::int64_t columns, float* __restrict out) {
  const float* __restrict a = rows[0];
  const float* __restrict b = rows[count > 1 ? 1 : 0];
  const float* __restrict c = rows[count > 2 ? 2 : 0];
  const float* __restrict d = rows[count > 3 ? 3 : 0];
  const float wa = weights[0], wb = weights[1], wc = weights[2], wd = weights[3];
  if (count == 1) {
    for (std::int64_t x = 0; x < columns; ++x) out[x] = wa * a[x];
  } else if (count == 2) {
    for (std::int64_t x = 0; x < columns; ++x) out[x] = wa * a[x] + wb * b[x];
  } else if (count == 3) {
    for (std::int64_t x = 0; x < columns; ++x) out[x] = wa * a[x] + wb * b[x] + wc * c[x];
  } else {
    for (std::int64_t x = 0; x < columns; ++x) out[x] = (wa * a[x] + wb * b[x]) + (wc * c[x] + wd * d[x]);
  }
}

struct Leading {
  ImageSize low;
  std::int64_t masks;
};

Leading leading_of(const Tensor& low_res) {
  const int rank = low_res.shape().rank();
  require(low_res.defined() && rank >= 2, "postprocess_masks",
          "logits of shape {}: at least two axes, the last two rows and columns", low_res.shape().str());
  const ImageSize low{low_res.dim(-2), low_res.dim(-1)};
  check_size(low, "low-resolution masks");
  return {low, low_res.numel() / (low.rows * low.columns)};
}

/// Splits masks and rows among the threads: body(mask, first row, past row).
void for_row_blocks(std::int64_t masks, std::int64_t rows,
                    const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& body) {
  constexpr std::int64_t kBlock = 128;
  const std::int64_t blocks = (rows + kBlock - 1) / kBlock;
  parallel_for(masks * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % blocks * kBlock;
      body(i / blocks, first, std::min(first + kBlock, rows));
    }
  });
}

}  // namespace

MaskUpscaler::MaskUpscaler(ImageSize low, const SamFrame& frame) : low_(low), original_(frame.original) {
  check_size(low, "low-resolution masks");
  check_size(frame.original, "a picture");
  require(frame.image_size >= 1 && frame.image_size <= 16384, "postprocess_masks",
          "image size {}: 1 to 16384 is allowed", frame.image_size);
  require(frame.input.rows >= 1 && frame.input.columns >= 1 && frame.input.rows <= frame.image_size &&
              frame.input.columns <= frame.image_size,
          "postprocess_masks", "an input of {} x {} pixels in a frame of {}", frame.input.columns,
          frame.input.rows, frame.image_size);
  down_ = compose(low.rows, frame.image_size, frame.input.rows, original_.rows);
  across_ = compose(low.columns, frame.image_size, frame.input.columns, original_.columns);
}

/// low -> middle samples, the first `cut` of them -> out samples, in one step.
std::vector<MaskUpscaler::Tap> MaskUpscaler::compose(std::int64_t low, std::int64_t middle, std::int64_t cut,
                                                     std::int64_t out) {
  std::vector<Tap> taps(static_cast<std::size_t>(out));
  for (std::int64_t i = 0; i < out; ++i) {
    std::array<std::pair<std::int64_t, double>, kTaps> parts;  // indices come in order
    std::size_t used = 0;
    const auto put = [&](std::int64_t index, double weight) {
      if (weight == 0.0) return;
      for (std::size_t k = 0; k < used; ++k) {
        if (parts[k].first == index) return void(parts[k].second += weight);
      }
      parts[used++] = {index, weight};
    };
    const Lerp outer = lerp_at(i, cut, out);
    const Lerp left = lerp_at(outer.index, low, middle), right = lerp_at(outer.next, low, middle);
    put(left.index, (1.0 - outer.t) * (1.0 - left.t));
    put(left.next, (1.0 - outer.t) * left.t);
    put(right.index, outer.t * (1.0 - right.t));
    put(right.next, outer.t * right.t);
    Tap& tap = taps[static_cast<std::size_t>(i)];
    tap.count = static_cast<std::int32_t>(used);
    tap.index.fill(static_cast<std::int32_t>(parts[0].first));
    for (std::size_t k = 0; k < used; ++k) {
      tap.index[k] = static_cast<std::int32_t>(parts[k].first);
      tap.weight[k] = static_cast<float>(parts[k].second);
    }
  }
  return taps;
}

/// Output positions with a tap in low positions first ... last; one range, since taps move along.
MaskUpscaler::Range MaskUpscaler::reached(const std::vector<Tap>& taps, std::int64_t first,
                                          std::int64_t last) {
  const auto touches = [first, last](const Tap& tap) {
    for (std::int32_t k = 0; k < tap.count; ++k)
      if (tap.index[k] >= first && tap.index[k] <= last) return true;
    return false;
  };
  const auto begin = std::find_if(taps.begin(), taps.end(), touches);
  const auto end = std::find_if(taps.rbegin(), taps.rend(), touches);
  if (begin == taps.end()) return {};
  return {begin - taps.begin(), taps.rend() - end};
}

void MaskUpscaler::rows(std::span<const float> low, float floor, const RowSink& sink) const {
  // Weights add up to 1 within rounding, so logits above the floor need a tap above a slightly lower one.
  const float bound = floor - 1e-5f * std::max(1.0f, std::abs(floor));
  std::int64_t top = low_.rows, bottom = -1, left = low_.columns, right = -1;
  require(low.size() == static_cast<std::size_t>(low_.rows * low_.columns), "postprocess_masks",
          "{} logits for a mask of {} x {}", low.size(), low_.columns, low_.rows);
  for (std::int64_t y = 0; y < low_.rows; ++y) {
    for (std::int64_t x = 0; x < low_.columns; ++x) {
      if (low[y * low_.columns + x] <= bound) continue;  // NaN counts as above
      top = std::min(top, y), bottom = y;
      left = std::min(left, x), right = std::max(right, x);
    }
  }
  if (bottom >= 0) rows(low, reached(down_, top, bottom), reached(across_, left, right), sink);
}

void MaskUpscaler::rows(std::span<const float> low, std::int64_t begin, std::int64_t end,
                        const RowSink& sink) const {
  require(low.size() == static_cast<std::size_t>(low_.rows * low_.columns), "postprocess_masks",
          "{} logits for a mask of {} x {}", low.size(), low_.columns, low_.rows);
  require(begin >= 0 && begin <= end && end <= original_.rows, "postprocess_masks", "rows {} to {} of {}",
          begin, end, original_.rows);
  rows(low, {begin, end}, {0, original_.columns}, sink);
}

void MaskUpscaler::rows(std::span<const float> low, Range y, Range x, const RowSink& sink) const {
  // Low rows at full width, four at a time: an output row reads at most four neighbours.
  const std::int64_t width = x.end - x.begin;
  if (width <= 0) return;
  std::vector<float> wide(static_cast<std::size_t>(kTaps * width)), out(static_cast<std::size_t>(width));
  std::array<std::int32_t, kTaps> held;
  held.fill(-1);
  const auto wide_row = [&](std::int32_t index) -> const float* {
    const std::int32_t slot = index % kTaps;
    float* row = wide.data() + slot * width;
    if (held[slot] != index) widen(low.data() + index * low_.columns, x, row);
    held[slot] = index;
    return row;
  };
  std::vector<float> apart;
  for (std::int64_t i = y.begin; i < y.end; ++i) {
    const Tap& tap = down_[i];
    std::array<const float*, kTaps> rows{};
    // Four slots hold neighbours; where the frame is smaller than the masks the taps lie apart.
    const bool near = tap.index[tap.count - 1] - tap.index[0] < kTaps;
    if (!near) apart.resize(static_cast<std::size_t>(kTaps * width));
    for (std::int32_t k = 0; k < tap.count; ++k) {
      rows[k] = near ? wide_row(tap.index[k]) : apart.data() + k * width;
      if (!near) widen(low.data() + tap.index[k] * low_.columns, x, apart.data() + k * width);
    }
    mix_rows(rows, tap.weight, tap.count, width, out.data());
    sink(i, x.begin, out);
  }
}

void MaskUpscaler::widen(const float* low_row, Range x, float* out) const {
  for (std::int64_t i = x.begin; i < x.end; ++i) {
    const Tap& tap = across_[i];
    float sum = tap.weight[0] * low_row[tap.index[0]];
    for (std::int32_t k = 1; k < tap.count; ++k) sum += tap.weight[k] * low_row[tap.index[k]];
    out[i - x.begin] = sum;
  }
}

Tensor postprocess_masks(const Tensor& low_res, const SamFrame& frame) {
  const Leading leading = leading_of(low_res);
  const MaskUpscaler upscaler(leading.low, frame);
  const std::int64_t rows = frame.original.rows, columns = frame.original.columns;
  std::vector<std::int64_t> extents(low_res.shape().extents().begin(), low_res.shape().extents().end());
  extents[extents.size() - 2] = rows;
  extents[extents.size() - 1] = columns;
  Tensor out{Shape(extents)};
  const std::int64_t low_pixels = leading.low.rows * leading.low.columns;
  for_row_blocks(leading.masks, rows, [&](std::int64_t mask, std::int64_t begin, std::int64_t end) {
    float* to = out.data() + mask * rows * columns;
    upscaler.rows(low_res.values().subspan(mask * low_pixels, low_pixels), begin, end,
                  [to, columns](std::int64_t y, std::int64_t, std::span<const float> logits) {
                    std::copy(logits.begin(), logits.end(), to + y * columns);
                  });
  });
  return out;
}

std::vector<Mask> postprocess_binary_masks(const Tensor& low_res, const SamFrame& frame, float threshold) {
  const Leading leading = leading_of(low_res);
  const MaskUpscaler upscaler(leading.low, frame);
  const std::int64_t rows = frame.original.rows, columns = frame.original.columns;
  std::vector<Mask> out(static_cast<std::size_t>(leading.masks));
  for (Mask& mask : out) mask = {frame.original, std::vector<std::uint8_t>(rows * columns)};
  const std::int64_t low_pixels = leading.low.rows * leading.low.columns;
  for_row_blocks(leading.masks, rows, [&](std::int64_t mask, std::int64_t begin, std::int64_t end) {
    std::uint8_t* to = out[mask].bits.data();
    upscaler.rows(low_res.values().subspan(mask * low_pixels, low_pixels), begin, end,
                  [to, columns, threshold](std::int64_t y, std::int64_t, std::span<const float> logits) {
                    std::uint8_t* __restrict row = to + y * columns;
                    const float* __restrict in = logits.data();
                    for (std::int64_t x = 0; x < columns; ++x) row[x] = in[x] > threshold ? 1 : 0;
                  });
  });
  return out;
}

}  // namespace locant
