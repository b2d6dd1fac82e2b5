#include "position/conformer.h"

#include "ops/layout.h"
#include "ops/linear.h"
#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace conformer_encoding {
namespace {

std::int64_t width_of(const EncodingCase& c) { return (c.H * c.D + 1) / 2 * 2; }

// r and behind it v.r, of each head and distance from -(Nk - 1) on.
std::vector<Complexes> reference_rows(const EncodingCase& c, std::int64_t width,
                                      const std::vector<Complexes>& x) {
  std::vector<Complexes> rows;
  for (std::int64_t h = 0; h < c.H; ++h)
    for (std::int64_t distance = 1 - c.Nk(); distance < c.Nk(); ++distance) {
      Complexes r(static_cast<std::size_t>(c.D + 1));
      for (std::int64_t d = 0; d < c.D; ++d) {
        const std::int64_t at = h * c.D + d;
        for (std::int64_t s = 0; s < width; ++s) {
          const double angle = static_cast<double>(distance) /
                               std::pow(1e4, static_cast<double>(s / 2 * 2) / static_cast<double>(width));
          r[static_cast<std::size_t>(d)] += x[5][static_cast<std::size_t>(at * width + s)] *
                                            (s % 2 == 0 ? std::sin(angle) : std::cos(angle));
        }
        r.back() += x[4][static_cast<std::size_t>(at)] * r[static_cast<std::size_t>(d)];
      }
      rows.push_back(std::move(r));
    }
  return rows;
}

Complexes reference(const PlainCall& call, std::int64_t width) {
  const EncodingCase& c = call.c;
  const std::vector<Complexes> rows = reference_rows(c, width, call.x);
  return plain_attention(call, [&](auto b, auto h, auto i, auto j) {
    const std::int64_t distance = i + c.Nk() - c.Nq() - j;
    const Complexes& r = rows[static_cast<std::size_t>(h * (2 * c.Nk() - 1) + distance + c.Nk() - 1)];
    return transformer_xl_score<Complex>(call.query(b, h, i), call.key(b, h, j), call.x[3].data() + h * c.D,
                                         r.data(), r.back(), c.D);
  });
}

EncodingInstance instance(const EncodingCase& c) {
  conformer_gather(c.Nq(), c.Nk());
  const std::int64_t width = width_of(c), R = conformer_rows(c.Nk());
  const Var u = random_parameter({c.H, c.D}, c.seed), v = random_parameter({c.H, c.D}, c.seed + 1);
  const Var projection = random_parameter({c.H * c.D, width}, c.seed + 2);
  // A model makes them once for all its layers.
  const Var sinusoids(conformer_sinusoids(c.Nk(), width));
  return attention_instance(
      c,
      {{ConformerPosition::kU, u}, {ConformerPosition::kV, v}, {ConformerPosition::kProjection, projection}},
      [=](const Context& ctx, AttentionCall& call) {
        const Var rows = reshape(ctx, linear(ctx, sinusoids, projection, {}), {R, c.H, c.D});
        call.q = add_conformer(ctx, u, v, rows, call.q, c.Nk(), call.options);
      },
      [width](const PlainCall& call) { return reference(call, width); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1}, {2, 2}, {3, 3}, {8, 8}, {4, 9}, {1, 5}});
  out.push_back({.B = 1, .H = 3, .D = 1, .Dv = 2, .query = {1, 1, 7}, .key = {1, 1, 7}});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return conformer_row(c.Nk(), i + c.Nk() - c.Nq() - j); });
}

}  // namespace
}  // namespace conformer_encoding

const Encoding kConformer = {
    .name = "conformer",
    .title = "Transformer-XL's terms for distances in both directions",
    .place = EncodingPlace::vectors,
    .paper = "Gulati et al. 2020, Conformer, section 2.1; Dai et al. 2019, section 3.3",
    .models = "Conformer of ESPnet, NeMo, wav2vec2-conformer, sooftware",
    .formula = "s = ((q + u).k + (q + v).r) / sqrt(D), r = W_pos sinusoid(i - j)",
    .lowering = "q + u as query; band term of r; gather term of (v - u).r",
    .parameters = "C^2 + 2 C",
    .multiply_adds = "N^2 C + 2 N C^2",
    .memory = "5 N C",
    .cases = conformer_encoding::cases,
    .instance = conformer_encoding::instance,
    .index = conformer_encoding::index,
};

}  // namespace locant
