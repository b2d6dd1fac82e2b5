#include "position/conformer.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "position/score_instance.h"
#include "position/sequence.h"
#include "position/sinusoidal_1d.h"

namespace locant {

namespace {
constexpr const char* kName = "conformer";
}

Tensor conformer_sinusoids(std::int64_t Nk, std::int64_t width) {
  check_sequence(kName, Nk, Nk, 0);
  require(width >= 2 && width % 2 == 0, kName, "sinusoids of width {}; pairs of sine and cosine need it even",
          width);
  std::vector<double> positions;
  for (std::int64_t distance = Nk - 1; distance > -Nk; --distance)
    positions.push_back(static_cast<double>(distance));
  return sinusoidal_1d(SinusoidLayout::interleaved, positions, width).reshaped({conformer_rows(Nk), width});
}

std::shared_ptr<const GatherMap> conformer_gather(std::int64_t Nq, std::int64_t Nk) {
  check_last_queries(kName, Nq, Nk);
  return sequence_gather(kName, Nq, Nk, Nk - Nq,
                         [&](std::int64_t distance) { return conformer_row(Nk, distance); });
}

Var add_conformer(const Context& ctx, const Var& u, const Var& v, const Var& rows, const Var& q,
                  std::int64_t Nk, AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const std::int64_t D = head_width(kName, q, H);
  check_table(kName, ConformerPosition::kU, u, {H, D});
  check_table(kName, ConformerPosition::kV, v, {H, D});
  check_table(kName, "the projected table", rows, {conformer_rows(Nk), H, D});
  return add_transformer_xl(ctx, {.u = u, .v = v, .rows = rows}, q, conformer_gather(q.dim(1), Nk), options);
}

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

Complexes reference(const EncodingCase& c, std::int64_t width, const std::vector<Complexes>& x) {
  using T = std::complex<double>;
  const PlainCall<T> call{c, x[0], x[1], x[2]};
  const std::vector<Complexes> rows = reference_rows(c, width, x);
  return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
    const std::int64_t distance = i + c.Nk() - c.Nq() - j;
    const Complexes& r = rows[static_cast<std::size_t>(h * (2 * c.Nk() - 1) + distance + c.Nk() - 1)];
    return transformer_xl_score<T>(call.query(b, h, i), call.key(b, h, j), x[3].data() + h * c.D, r.data(),
                                   r.back(), c.D);
  });
}

EncodingInstance instance(const EncodingCase& c) {
  check_no_prefix(kName, c);
  require(c.variant.empty(), kName, "unknown variant \"{}\"; there is none", c.variant);
  conformer_gather(c.Nq(), c.Nk());
  const std::int64_t width = width_of(c), R = conformer_rows(c.Nk());
  const Var u = random_parameter({c.H, c.D}, c.seed), v = random_parameter({c.H, c.D}, c.seed + 1);
  const Var projection = random_parameter({c.H * c.D, width}, c.seed + 2);
  EncodingInstance out;
  out.parameters = {
      {ConformerPosition::kU, u}, {ConformerPosition::kV, v}, {ConformerPosition::kProjection, projection}};
  // A model makes them once for all its layers.
  const Var sinusoids(conformer_sinusoids(c.Nk(), width));
  out.run = [c, u, v, projection, sinusoids, R](const Context& ctx, const Var& q, const Var& k,
                                                const Var& value, AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    const Var rows = reshape(ctx, linear(ctx, sinusoids, projection, {}), {R, c.H, c.D});
    const Var query = add_conformer(ctx, u, v, rows, q, c.Nk(), options);
    return run_attention(ctx, query, k, value, options, path);
  };
  out.reference = [c, width](const std::vector<Complexes>& x) { return reference(c, width, x); };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const auto& [Nq, Nk] : {std::pair{1, 1}, {2, 2}, {3, 3}, {8, 8}, {4, 9}, {1, 5}})
    out.push_back(sequence_case(Nq, Nk));
  out.push_back({.B = 1, .H = 3, .D = 1, .Dv = 2, .query = {1, 1, 7}, .key = {1, 1, 7}});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](auto i, auto j) { return conformer_row(c.Nk(), i + c.Nk() - c.Nq() - j); });
}

}  // namespace

const Encoding kConformer = {
    .name = "conformer",
    .header = "position/conformer.h",
    .title = "Transformer-XL's terms for distances in both directions",
    .place = EncodingPlace::vectors,
    .paper = "Gulati et al. 2020, Conformer, section 2.1; Dai et al. 2019, section 3.3",
    .models = "Conformer of ESPnet, NeMo, wav2vec2-conformer, sooftware",
    .formula = "s = ((q + u).k + (q + v).r) / sqrt(D), r = W_pos sinusoid(i - j)",
    .lowering = "q + u as query; band term of r; gather term of (v - u).r",
    .parameters = "C^2 + 2 C",
    .multiply_adds = "N^2 C + 2 N C^2",
    .memory = "5 N C",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
