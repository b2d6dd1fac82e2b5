#include "position/transformer_xl.h"

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "position/score_instance.h"
#include "position/sequence.h"
#include "position/sinusoidal_1d.h"

namespace locant {

namespace {
constexpr const char* kName = "transformer_xl";
}

Tensor transformer_xl_sinusoids(std::int64_t klen, std::int64_t width, std::int64_t clamp_len) {
  check_sequence(kName, klen, klen, 0);
  require(width >= 2 && width % 2 == 0, kName, "sinusoids of width {}; sine and cosine halves need it even",
          width);
  require(clamp_len >= 0, kName, "distances clamped at {}; clamp_len must be 0 (not at all) or more",
          clamp_len);
  std::vector<double> positions;
  for (std::int64_t t = 0; t < klen; ++t)
    positions.push_back(static_cast<double>(transformer_xl_position(klen, t, clamp_len)));
  return sinusoidal_1d(SinusoidLayout::halves, positions, width).reshaped({klen, width});
}

std::shared_ptr<const GatherMap> transformer_xl_gather(std::int64_t rows, std::int64_t queries,
                                                       std::int64_t past) {
  require(rows >= 1, kName, "{} rows of positions; there must be one at least", rows);
  return sequence_gather(kName, queries, past + queries, past,
                         [&](std::int64_t distance) { return transformer_xl_row(rows, distance); });
}

AttentionVisibility transformer_xl_visibility(std::int64_t queries, std::int64_t past, bool same_length,
                                              std::int64_t mem_len) {
  check_sequence(kName, queries, past + queries, past);
  AttentionVisibility out;
  out.causal = true;
  out.causal_offset = past;
  if (!same_length) return out;
  require(mem_len >= 1, kName, "same_length with a memory of {}: the queries would see nothing", mem_len);
  if (past + queries > mem_len) out.causal_span = mem_len;
  return out;
}

Var add_transformer_xl(const Context& ctx, const TransformerXl& xl, const Var& q,
                       const std::shared_ptr<const GatherMap>& gather, AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const std::int64_t D = head_width(kName, q, H);
  const std::int64_t R = xl.rows.defined() && xl.rows.shape().rank() == 3 ? xl.rows.dim(0) : 1;
  check_table(kName, TransformerXl::kU, xl.u, {H, D});
  check_table(kName, "the table of rows", xl.rows, {R, H, D});
  require(xl.v.defined() != xl.row_bias.defined(), kName, "either {} or {} is needed", TransformerXl::kV,
          TransformerXl::kRowBias);
  const float scale = attention_scale(options.scale, D);
  const auto dots = [&](const Var& vectors, float factor) {  // (R, H)
    const Var rows = reshape(ctx, xl.rows, {1, R, H * D});
    return reshape(ctx, head_products(ctx, rows, H, reshape(ctx, vectors, {H, 1, D}), factor), {R, H});
  };
  Var bias;
  if (xl.v.defined()) {
    check_table(kName, TransformerXl::kV, xl.v, {H, D});
    bias = dots(add(ctx, xl.v, affine(ctx, xl.u, -1.0f)), scale);
  } else {
    check_table(kName, TransformerXl::kRowBias, xl.row_bias, {R, H});
    bias = add(ctx, affine(ctx, xl.row_bias, scale), dots(xl.u, -scale));
  }
  options.terms.push_back(band_term(Side::query, permute(ctx, xl.rows, {1, 0, 2}), gather));
  options.terms.push_back(gather_term(bias, gather));
  return add(ctx, q, reshape(ctx, xl.u, {H * D}));
}

namespace {

struct Form {
  bool learned = false, same_length = false;
  std::int64_t clamp_len = 0, past = 0, width = 0, rows = 0;
};

Form form_of(const EncodingCase& c) {
  Form form;
  form.past = c.Nk() - c.Nq();
  form.width = (c.H * c.D + 1) / 2 * 2;
  form.rows = c.Nk();
  check_no_prefix(kName, c);
  check_last_queries(kName, c.Nq(), c.Nk());
  if (c.variant == "learned") {
    form.learned = true;
    form.rows = (2 * c.Nk() + 2) / 3;
  } else if (c.variant == "clamp_len") {
    form.clamp_len = (c.Nk() + 1) / 2;
  } else if (c.variant == "same_length") {
    form.same_length = true;
  } else {
    require(c.variant.empty(), kName, "unknown variant \"{}\"; there are learned, clamp_len, same_length",
            c.variant);
  }
  return form;
}

// Memory as long as the segment before; a segment that follows none remembers half of itself.
std::int64_t mem_len_of(const Form& form, std::int64_t Nq) {
  return form.past > 0 ? form.past : std::max<std::int64_t>(1, Nq / 2);
}

bool seen_by(const EncodingCase& c, const Form& form, std::int64_t i, std::int64_t j) {
  const std::int64_t distance = i + form.past - j;
  return distance >= 0 && (!form.same_length || distance < mem_len_of(form, c.Nq()));
}

// r and behind it v.r (or the learned number), of each head and distance from 0 on.
std::vector<Complexes> reference_rows(const EncodingCase& c, const Form& form,
                                      const std::vector<Complexes>& x) {
  std::vector<Complexes> out;
  for (std::int64_t h = 0; h < c.H; ++h)
    for (std::int64_t distance = 0; distance < c.Nk(); ++distance) {
      Complexes r(static_cast<std::size_t>(c.D + 1));
      const std::int64_t t = std::max<std::int64_t>(form.rows - 1 - distance, 0);
      const auto far =
          static_cast<double>(form.clamp_len > 0 ? std::min(distance, form.clamp_len) : distance);
      for (std::int64_t d = 0; d < c.D; ++d) {
        std::complex<double>& to = r[static_cast<std::size_t>(d)];
        if (form.learned) {
          to = x[4][static_cast<std::size_t>((t * c.H + h) * c.D + d)];
          continue;
        }
        for (std::int64_t s = 0, half = form.width / 2; s < form.width; ++s) {
          const double angle = far / std::pow(1e4, static_cast<double>(s % half) / static_cast<double>(half));
          to += x[5][static_cast<std::size_t>((h * c.D + d) * form.width + s)] *
                (s < half ? std::sin(angle) : std::cos(angle));
        }
        r.back() += x[4][static_cast<std::size_t>(h * c.D + d)] * to;
      }
      if (form.learned) r.back() = x[5][static_cast<std::size_t>(t * c.H + h)];
      out.push_back(std::move(r));
    }
  return out;
}

Complexes reference(const EncodingCase& c, const Form& form, const std::vector<Complexes>& x) {
  using T = std::complex<double>;
  const PlainCall<T> call{c, x[0], x[1], x[2]};
  const std::vector<Complexes> rows = reference_rows(c, form, x);
  return plain_attention<T>(
      c,
      [&](auto b, auto h, auto i, auto j) {
        const Complexes& r = rows[static_cast<std::size_t>(h * c.Nk() + i + form.past - j)];
        return transformer_xl_score<T>(call.query(b, h, i), call.key(b, h, j), x[3].data() + h * c.D,
                                       r.data(), r.back(), c.D);
      },
      [&](auto, auto, auto i, auto j) { return seen_by(c, form, i, j); },
      [&](auto b, auto h, auto, auto j, auto d) { return call.value(b, h, j)[d]; });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  EncodingInstance out;
  const auto make = [&](const char* name, const Shape& shape) {
    const Var parameter = random_parameter(shape, c.seed + out.parameters.size());
    out.parameters.emplace_back(name, parameter);
    return parameter;
  };
  TransformerXl xl;
  Var projection, sinusoids;  // a model makes the sinusoids once for all its layers
  xl.u = make(TransformerXl::kU, {c.H, c.D});
  if (form.learned) {
    xl.rows = make(TransformerXl::kRows, {form.rows, c.H, c.D});
    xl.row_bias = make(TransformerXl::kRowBias, {form.rows, c.H});
  } else {
    xl.v = make(TransformerXl::kV, {c.H, c.D});
    projection = make(TransformerXl::kProjection, {c.H * c.D, form.width});
    sinusoids = Var(transformer_xl_sinusoids(form.rows, form.width, form.clamp_len));
  }
  out.run = [c, form, xl, projection, sinusoids](const Context& ctx, const Var& q, const Var& k, const Var& v,
                                                 AttentionPath path) {
    AttentionOptions options;
    options.heads = c.H;
    options.visibility =
        transformer_xl_visibility(c.Nq(), form.past, form.same_length, mem_len_of(form, c.Nq()));
    TransformerXl now = xl;
    if (!form.learned) now.rows = reshape(ctx, linear(ctx, sinusoids, projection, {}), {form.rows, c.H, c.D});
    const auto gather = transformer_xl_gather(form.rows, c.Nq(), form.past);
    const Var query = add_transformer_xl(ctx, now, q, gather, options);
    return run_attention(ctx, query, k, v, options, path);
  };
  out.reference = [c, form](const std::vector<Complexes>& x) { return reference(c, form, x); };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const auto& [Nq, Nk] : {std::pair{1, 1}, {2, 2}, {7, 7}, {5, 12}, {1, 6}})
    out.push_back(sequence_case(Nq, Nk));
  for (const char* variant : {"learned", "clamp_len", "same_length"})
    for (const std::int64_t Nk : {6, 11}) out.push_back(sequence_case(5, Nk, variant));
  out.push_back(sequence_case(5, 8));
  out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const Form form = form_of(c);
  return index_matrix(c, [&](auto i, auto j) -> std::int64_t {
    return seen_by(c, form, i, j) ? transformer_xl_row(form.rows, i + form.past - j) : -1;
  });
}

}  // namespace

const Encoding kTransformerXl = {
    .name = "transformer_xl",
    .header = "position/transformer_xl.h",
    .title = "projected sinusoids of the distance met by the query, and biases for keys and distances",
    .place = EncodingPlace::vectors,
    .paper = "Dai et al. 2019, Transformer-XL, section 3.3",
    .models = "Transformer-XL",
    .formula = "s = ((q + u).k + (q + v).r) / sqrt(D), r = W_R sinusoid(i + past - j)",
    .lowering = "q + u as query; band term of r; gather term of (v - u).r",
    .parameters = "C^2 + 2 C",
    .multiply_adds = "N^2 C + N C^2",
    .memory = "3 N C",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
