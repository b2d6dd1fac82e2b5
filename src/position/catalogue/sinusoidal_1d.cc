#include "position/sinusoidal_1d.h"

#include <algorithm>

#include "position/catalogue/all.h"
#include "position/catalogue/token_instance.h"

namespace locant {
namespace sinusoidal_1d_encoding {
namespace {

SinusoidLayout layout_of(const EncodingCase& c) {
  if (c.variant == "halves") return SinusoidLayout::halves;
  if (c.variant == "t2t") return SinusoidLayout::t2t;
  return SinusoidLayout::interleaved;
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
}  // namespace sinusoidal_1d_encoding

const Encoding kSinusoidal1d = {
    .name = "sinusoidal_1d",
    .title = "fixed sines and cosines of a sequence's positions, in three layouts",
    .place = EncodingPlace::tokens,
    .paper = "Vaswani et al. 2017, Attention Is All You Need, section 3.5",
    .models = "Transformer, Transformer-XL, Conformer, fairseq, Whisper",
    .formula = "x_i + pe(i), pe = sin and cos of i T^(-2t / C)",
    .lowering = "added to the tokens",
    .parameters = "0",
    .multiply_adds = "0",
    .memory = "N C",
    .grids = EncodingGrids::one,
    .variants = {"interleaved", "halves", "t2t"},
    .cases = sinusoidal_1d_encoding::cases,
    .instance = sinusoidal_1d_encoding::instance,
    .picture = sinusoidal_1d_encoding::picture,
};

}  // namespace locant
