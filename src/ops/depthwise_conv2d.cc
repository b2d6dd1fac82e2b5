#include "ops/depthwise_conv2d.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "kernels/row_mix.h"
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

struct PackedDepthwise::State {
  std::int64_t C, kh, kw;
  Conv2dOptions options;
  Tensor taps;  // (kh kw, C)
  Tensor bias;
};

namespace {

// Taps [first, last) along an axis that lie inside it for output j.
struct Inside {
  Inside(std::int64_t j, std::int64_t stride, std::int64_t pad, std::int64_t taps, std::int64_t inputs)
      : first(std::clamp<std::int64_t>(pad - j * stride, 0, taps)),
        last(std::clamp<std::int64_t>(inputs + pad - j * stride, first, taps)) {}
  std::int64_t first, last;
};

// Neighbouring outputs that see the same taps.
struct Run {
  std::int64_t begin, end;
  Inside taps;
};

std::vector<Run> runs_of(std::int64_t outputs, std::int64_t stride, std::int64_t pad, std::int64_t taps,
                         std::int64_t inputs) {
  std::vector<Run> out;
  for (std::int64_t j = 0; j < outputs; ++j) {
    const Inside inside(j, stride, pad, taps, inputs);
    if (!out.empty() && out.back().taps.first == inside.first && out.back().taps.last == inside.last)
      ++out.back().end;
    else
      out.push_back({j, j + 1, inside});
  }
  return out;
}

}  // namespace

PackedDepthwise::PackedDepthwise(const Tensor& weight, const Tensor& bias, const Conv2dOptions& o) {
  const Shape& shape = weight.shape();
  if (shape.rank() != 4 || shape[1] != 1 || weight.numel() == 0 || o.groups != shape[0])
    fail("conv2d", "a depthwise weight must be (C, 1, kh, kw) and not empty, C the {} groups; this one is {}",
         o.groups, shape.str());
  if (bias.defined() && bias.shape() != Shape{shape[0]})
    fail("conv2d", "bias of shape {} for {} outputs", bias.shape().str(), shape[0]);
  require(o.stride_rows >= 1 && o.stride_columns >= 1 && o.pad_rows >= 0 && o.pad_columns >= 0, "conv2d",
          "stride {} x {} and padding {} x {} do not make a convolution", o.stride_rows, o.stride_columns,
          o.pad_rows, o.pad_columns);
  auto state = std::make_shared<State>(State{shape[0], shape[2], shape[3], o, Tensor(), Tensor()});
  const std::int64_t C = shape[0], taps = shape[2] * shape[3];
  state->taps = Tensor({taps, C});
  for (std::int64_t c = 0; c < C; ++c)
    for (std::int64_t t = 0; t < taps; ++t) state->taps[t * C + c] = weight[c * taps + t];
  if (bias.defined()) state->bias = bias.clone();
  state_ = std::move(state);
}

Tensor PackedDepthwise::forward(const Tensor& tokens, std::int64_t rows, std::int64_t columns,
                                std::int64_t prefix, Activation act) const {
  require(state_ != nullptr, "conv2d", "the packed weight is empty; construct it from a weight first");
  const State& s = *state_;
  const Conv2dOptions& o = s.options;
  const std::int64_t C = s.C;
  if (tokens.shape().rank() != 3 || rows < 1 || columns < 1 || prefix < 0 || tokens.dim(2) != C ||
      tokens.dim(1) != prefix + rows * columns)
    fail("conv2d", "tokens of shape {} are no grid of {} x {} of {} channels behind {} others",
         tokens.shape().str(), rows, columns, C, prefix);
  const std::int64_t room_rows = rows + 2 * o.pad_rows - s.kh,
                     room_columns = columns + 2 * o.pad_columns - s.kw;
  require(room_rows >= 0 && room_columns >= 0, "conv2d",
          "a kernel of {} x {} is larger than a padded picture of {} x {}", s.kh, s.kw, rows + 2 * o.pad_rows,
          columns + 2 * o.pad_columns);
  const std::int64_t out_rows = room_rows / o.stride_rows + 1,
                     out_columns = room_columns / o.stride_columns + 1, B = tokens.dim(0),
                     after = prefix + out_rows * out_columns;
  ProfileScope scope("conv2d");
  Tensor y({B, after, C});
  scope.works(B * out_rows * out_columns * C * s.kh * s.kw);
  if (prefix > 0) copy_blocks(B, prefix * C, tokens.data(), tokens.dim(1) * C, y.data(), after * C);
  const std::vector<Run> runs = runs_of(out_columns, o.stride_columns, o.pad_columns, s.kw, columns);
  const float* bias = s.bias.defined() ? s.bias.data() : nullptr;
  const std::int64_t work = out_columns * C * std::max<std::int64_t>(s.kh * s.kw, 4);
  parallel_for(B * out_rows, row_grain(work), [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> offsets;
    std::vector<const float*> weights;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t b = i / out_rows, r = i % out_rows;
      const float* picture = tokens.data() + (b * tokens.dim(1) + prefix) * C;
      float* line = y.data() + (b * after + prefix + r * out_columns) * C;
      const Inside inside(r, o.stride_rows, o.pad_rows, s.kh, rows);
      for (const Run& run : runs) {
        offsets.clear();
        weights.clear();
        for (std::int64_t u = inside.first; u < inside.last; ++u)
          for (std::int64_t v = run.taps.first; v < run.taps.last; ++v) {
            offsets.push_back(((r * o.stride_rows - o.pad_rows + u) * columns + run.begin * o.stride_columns -
                               o.pad_columns + v) *
                              C);
            weights.push_back(s.taps.data() + (u * s.kw + v) * C);
          }
        row_mix().weigh(picture, o.stride_columns * C, offsets.data(), weights.data(),
                        static_cast<std::int64_t>(offsets.size()), bias, run.end - run.begin, C,
                        line + run.begin * C, C);
      }
      if (act == Activation::gelu) row_ops().gelu(line, out_columns * C, line);
    }
  });
  return y;
}

}  // namespace locant
