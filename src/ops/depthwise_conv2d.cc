#include "ops/depthwise_conv2d.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "ops/reduce_inl.h"

namespace locant {

ConvAxis::ConvAxis(std::int64_t inputs, std::int64_t outputs, std::int64_t taps, std::int64_t stride,
                   std::int64_t dilation, std::int64_t pad)
    : inputs(inputs), outputs(outputs), stride(stride), extent(outputs) {
  for (std::int64_t t = 0; t < taps; ++t) {
    const std::int64_t from = t * dilation, begin = from % stride - pad;
    const auto known = std::find(start.begin(), start.end(), begin);
    phase.push_back(known - start.begin());
    if (known == start.end()) start.push_back(begin);
    shift.push_back(from / stride);
    extent = std::max(extent, outputs + from / stride);
  }
}

std::int64_t ConvAxis::first(std::int64_t p) const {
  const std::int64_t begin = start[static_cast<std::size_t>(p)];
  return std::min(begin >= 0 ? 0 : (-begin + stride - 1) / stride, extent);
}

std::int64_t ConvAxis::last(std::int64_t p) const {
  const std::int64_t room = inputs - start[static_cast<std::size_t>(p)];
  return std::clamp<std::int64_t>((room + stride - 1) / stride, first(p), extent);
}

namespace {

// Vectors of any instruction set divide it: kernels that may run over the end leave no single numbers.
constexpr std::int64_t kStep = 16;

// One channel's phases behind each other, each (rows.extent, columns.extent), and after them zeros. Outputs
// are laid out with the phases' row length too, so that a tap is one shift for a whole picture; what comes
// out between the rows is left alone.
struct Planes {
  explicit Planes(const DepthwiseShape& s)
      : rows(s.rows),
        columns(s.columns),
        pitch(columns.extent),
        plane((rows.extent * pitch + kStep - 1) / kStep * kStep),
        results((std::max<std::int64_t>(rows.outputs - 1, 0) * pitch + columns.outputs + kStep - 1) / kStep *
                kStep) {
    for (std::int64_t u = 0; u < rows.taps(); ++u)
      for (std::int64_t v = 0; v < columns.taps(); ++v) {
        phase.push_back(at(rows.phase, u) * columns.phases() + at(columns.phase, v));
        shift.push_back(at(rows.shift, u) * pitch + at(columns.shift, v));
      }
    for (std::size_t t = 0; t < phase.size(); ++t) {
      offset.push_back(phase[t] * plane + shift[t]);
      reach = std::max(reach, shift[t]);
    }
    for (std::int64_t p = 0; p < rows.phases(); ++p)
      for (std::int64_t r = rows.first(p); r < rows.last(p); ++r)
        for (std::int64_t q = 0; q < columns.phases(); ++q) {
          const std::int64_t left = columns.first(q), count = columns.last(q) - left;
          if (count > 0)
            lines.push_back({(p * columns.phases() + q) * plane + r * pitch + left,
                             (r * rows.stride + at(rows.start, p)) * columns.inputs + left * columns.stride +
                                 at(columns.start, q),
                             count});
        }
    std::int64_t pixels = 0;
    for (const Line& line : lines) pixels += line.count;
    covers = pixels == rows.inputs * columns.inputs;
  }

  static std::int64_t at(const std::vector<std::int64_t>& list, std::int64_t i) {
    return list[static_cast<std::size_t>(i)];
  }
  std::int64_t taps() const { return static_cast<std::int64_t>(offset.size()); }
  std::int64_t phases() const { return rows.phases() * columns.phases(); }
  std::int64_t size() const { return phases() * plane + kStep; }

  // phases (size()), zero outside the picture.
  void read(const float* picture, float* to) const {
    if (columns.stride == 1) {
      for (const Line& line : lines) copy(picture + line.picture, line.count, to + line.phase);
      return;
    }
    for (const Line& line : lines)
      for (std::int64_t i = 0; i < line.count; ++i)
        to[line.phase + i] = picture[line.picture + i * columns.stride];
  }

  // Back; a pixel belongs to one place of the phases at most.
  void write(const float* from, float* picture) const {
    if (columns.stride == 1) {
      for (const Line& line : lines) copy(from + line.phase, line.count, picture + line.picture);
      return;
    }
    for (const Line& line : lines)
      for (std::int64_t i = 0; i < line.count; ++i)
        picture[line.picture + i * columns.stride] = from[line.phase + i];
  }

  // Rows of a result to the phases' pitch, and back.
  void spread(const float* y, float* to) const {
    for (std::int64_t r = 0; r < rows.outputs; ++r)
      copy(y + r * columns.outputs, columns.outputs, to + r * pitch);
  }
  void gather(const float* from, float* y) const {
    for (std::int64_t r = 0; r < rows.outputs; ++r)
      copy(from + r * pitch, columns.outputs, y + r * columns.outputs);
  }

  // Rows are short: a call of memcpy for each would cost as much as the arithmetic.
  static void copy(const float* from, std::int64_t count, float* to) {
    for (; count >= 16; count -= 16, from += 16, to += 16) std::memcpy(to, from, 16 * sizeof(float));
    for (; count >= 4; count -= 4, from += 4, to += 4) std::memcpy(to, from, 4 * sizeof(float));
    if (count > 0) to[0] = from[0];
    if (count > 1) to[1] = from[1];
    if (count > 2) to[2] = from[2];
  }

  /// A row of a phase that lies in the picture.
  struct Line {
    std::int64_t phase, picture, count;
  };

  const ConvAxis &rows, &columns;
  std::int64_t pitch, plane, results, reach = 0;
  std::vector<std::int64_t> phase, shift, offset;  ///< a tap each
  std::vector<Line> lines;
  bool covers = false;  ///< whether every pixel lies in a phase
};

std::int64_t grain_of(const Planes& p) { return row_grain(p.plane * std::max<std::int64_t>(p.taps(), 4)); }

std::vector<float> zeros(std::int64_t count) { return std::vector<float>(static_cast<std::size_t>(count)); }

}  // namespace

void depthwise_forward(const DepthwiseShape& s, const float* x, const float* weight, const float* bias,
                       float* y) {
  const Planes p(s);
  const std::int64_t inputs = p.rows.inputs * p.columns.inputs, outputs = p.rows.outputs * p.columns.outputs;
  parallel_for(s.B * s.C, grain_of(p), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> phases = zeros(p.size()), result = zeros(p.results);
    for (std::int64_t i = begin; i < end; ++i) {
      p.read(x + i * inputs, phases.data());
      for (std::int64_t o = i * s.multiplier; o < (i + 1) * s.multiplier; ++o) {
        const std::int64_t channel = o % (s.C * s.multiplier);
        std::fill(result.begin(), result.end(), bias == nullptr ? 0.0f : bias[channel]);
        row_ops().correlate(phases.data(), p.offset.data(), weight + channel * p.taps(), p.taps(), p.results,
                            result.data());
        p.gather(result.data(), y + o * outputs);
      }
    }
  });
}

// Entry e of a phase gets weight[t] dy[e - shift[t]] from each of its taps.
void depthwise_input_gradient(const DepthwiseShape& s, const float* weight, const float* dy, float* dx) {
  const Planes p(s);
  const std::int64_t inputs = p.rows.inputs * p.columns.inputs, outputs = p.rows.outputs * p.columns.outputs;
  std::vector<std::vector<std::int64_t>> offsets(static_cast<std::size_t>(p.phases()));
  for (std::size_t t = 0; t < p.phase.size(); ++t)
    offsets[static_cast<std::size_t>(p.phase[t])].push_back(p.reach - p.shift[t]);
  parallel_for(s.B * s.C, grain_of(p), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> phases = zeros(p.size()), result = zeros(p.reach + p.plane), taps = zeros(p.taps());
    for (std::int64_t i = begin; i < end; ++i) {
      std::fill(phases.begin(), phases.end(), 0.0f);
      for (std::int64_t o = i * s.multiplier; o < (i + 1) * s.multiplier; ++o) {
        p.spread(dy + o * outputs, result.data() + p.reach);
        const float* w = weight + o % (s.C * s.multiplier) * p.taps();
        for (std::int64_t phase = 0; phase < p.phases(); ++phase) {
          std::size_t count = 0;
          for (std::size_t t = 0; t < p.phase.size(); ++t)
            if (p.phase[t] == phase) taps[count++] = w[t];
          row_ops().correlate(result.data(), offsets[static_cast<std::size_t>(phase)].data(), taps.data(),
                              static_cast<std::int64_t>(count), p.plane, phases.data() + phase * p.plane);
        }
      }
      if (!p.covers) std::fill_n(dx + i * inputs, inputs, 0.0f);
      p.write(phases.data(), dx + i * inputs);
    }
  });
}

void depthwise_weight_gradient(const DepthwiseShape& s, const float* x, const float* dy, float* dweight) {
  const Planes p(s);
  const std::int64_t inputs = p.rows.inputs * p.columns.inputs, outputs = p.rows.outputs * p.columns.outputs;
  std::fill_n(dweight, s.C * s.multiplier * p.taps(), 0.0f);
  parallel_for(s.C, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> phases = zeros(p.size()), result = zeros(p.results);
    for (std::int64_t c = begin; c < end; ++c)
      for (std::int64_t b = 0; b < s.B; ++b) {
        p.read(x + (b * s.C + c) * inputs, phases.data());
        for (std::int64_t m = 0; m < s.multiplier; ++m) {
          const std::int64_t channel = c * s.multiplier + m;
          p.spread(dy + (b * s.C * s.multiplier + channel) * outputs, result.data());
          row_ops().correlate_gradient(phases.data(), p.offset.data(), result.data(), p.taps(), p.results,
                                       dweight + channel * p.taps());
        }
      }
  });
}

}  // namespace locant
