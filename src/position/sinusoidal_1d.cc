#include "position/sinusoidal_1d.h"

#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "position/token_instance.h"

namespace locant {

namespace {
constexpr const char* kName = "sinusoidal_1d";
}

Tensor sinusoidal_1d(SinusoidLayout layout, const std::vector<double>& positions, std::int64_t C,
                     double temperature) {
  const auto N = static_cast<std::int64_t>(positions.size());
  require(
      C >= 1 && temperature > 0 && std::isfinite(temperature), kName,
      "{} positions of width {}, temperature {}; a width of 1 or more and a positive number were expected", N,
      C, temperature);
  Tensor out({1, N, C});
  std::vector<SinusoidChannel> waves;
  for (std::int64_t channel = 0; channel < C; ++channel)
    waves.push_back(sinusoidal_1d_channel(layout, channel, C, temperature));
  parallel_for(N, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n)
      for (std::int64_t channel = 0; channel < C; ++channel)
        out[n * C + channel] = static_cast<float>(
            waves[static_cast<std::size_t>(channel)].at(positions[static_cast<std::size_t>(n)]));
  });
  return out;
}

Tensor sinusoidal_1d(SinusoidLayout layout, std::int64_t N, std::int64_t C, double temperature) {
  require(N >= 0 && N <= (std::int64_t{1} << 29), kName, "{} positions; 0 to 2^29 were expected", N);
  std::vector<double> positions(static_cast<std::size_t>(N));
  std::iota(positions.begin(), positions.end(), 0.0);
  return sinusoidal_1d(layout, positions, C, temperature);
}

namespace {

SinusoidLayout layout_of(const EncodingCase& c) {
  if (c.variant.empty() || c.variant == "interleaved") return SinusoidLayout::interleaved;
  if (c.variant == "halves") return SinusoidLayout::halves;
  if (c.variant == "t2t") return SinusoidLayout::t2t;
  fail(kName, "no variant \"{}\"; there are interleaved, halves, t2t", c.variant);
}

// As the papers write them: a pair of sine and cosine for each frequency.
double plain_value(const EncodingCase& c, std::int64_t position, std::int64_t channel) {
  const std::int64_t C = c.H * c.D;
  for (std::int64_t t = 0; t < (C + 1) / 2; ++t) {
    const bool t2t = c.variant == "t2t";
    const double exponent = t2t ? static_cast<double>(t) / std::max(static_cast<double>(C / 2) - 1.0, 1.0)
                                : 2.0 * static_cast<double>(t) / static_cast<double>(C);
    const double angle = static_cast<double>(position) / std::pow(10000.0, exponent);
    const bool blocks = t2t || c.variant == "halves";
    const std::int64_t sine = blocks ? t : 2 * t;
    const std::int64_t cosine = blocks ? (t2t ? C / 2 : (C + 1) / 2) + t : 2 * t + 1;
    if (t2t && t >= C / 2) continue;
    if (channel == sine) return std::sin(angle);
    if (channel == cosine) return std::cos(angle);
  }
  return 0.0;
}

EncodingInstance instance(const EncodingCase& c) {
  check_tokens(kName, c, c.query.tokens());
  const Tensor table = sinusoidal_1d(layout_of(c), c.Nq(), c.H * c.D);
  return token_instance(
      c, {}, [table](const Context&) { return Var(table); },
      [c](const std::vector<Complexes>&, std::int64_t token, std::int64_t channel) {
        return plain_value(c, token, channel);
      });
}

std::vector<EncodingCase> cases() {
  const auto line = [](std::int64_t n) { return Grid{1, 1, n}; };
  return {
      {.query = line(1), .key = line(1)},
      {.B = 2, .query = line(17), .key = line(17)},
      {.H = 1, .D = 7, .query = line(9), .key = line(9)},
      {.H = 3, .D = 3, .Dv = 2, .query = line(9), .key = line(9), .variant = "halves"},
      {.B = 2, .H = 3, .D = 3, .query = line(9), .key = line(9), .variant = "t2t"},
  };
}

// A line a position, a column a channel.
Tensor picture(const EncodingCase& c) {
  return sinusoidal_1d(layout_of(c), c.Nq(), c.H * c.D).reshaped({c.Nq(), c.H * c.D});
}

}  // namespace

const Encoding kSinusoidal1d = {
    .name = kName,
    .header = "position/sinusoidal_1d.h",
    .title = "fixed sines and cosines of a sequence's positions, in three layouts",
    .place = EncodingPlace::tokens,
    .paper = "Vaswani et al. 2017, Attention Is All You Need, section 3.5",
    .models = "Transformer, Transformer-XL, Conformer, fairseq, Whisper",
    .formula = "x_i + pe(i), pe = sin and cos of i T^(-2t / C)",
    .lowering = "added to the tokens",
    .parameters = "0",
    .multiply_adds = "0",
    .memory = "N C",
    .cases = cases,
    .make = instance,
    .picture = picture,
};

}  // namespace locant
