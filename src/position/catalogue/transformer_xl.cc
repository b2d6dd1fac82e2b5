#include "position/transformer_xl.h"

#include <algorithm>

#include "ops/layout.h"
#include "ops/linear.h"
#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"
#include "position/shared/sequence.h"

namespace locant {
namespace transformer_xl_encoding {
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
  if (c.variant == "learned") {
    form.learned = true;
    form.rows = (2 * c.Nk() + 2) / 3;
  } else if (c.variant == "clamp_len") {
    form.clamp_len = (c.Nk() + 1) / 2;
  } else if (c.variant == "same_length") {
    form.same_length = true;
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
        Complex& to = r[static_cast<std::size_t>(d)];
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

Complexes reference(const PlainCall& call, const Form& form) {
  const EncodingCase& c = call.c;
  const std::vector<Complexes> rows = reference_rows(c, form, call.x);
  return plain_attention(
      call,
      [&](auto b, auto h, auto i, auto j) {
        const Complexes& r = rows[static_cast<std::size_t>(h * c.Nk() + i + form.past - j)];
        return transformer_xl_score<Complex>(call.query(b, h, i), call.key(b, h, j),
                                             call.x[3].data() + h * c.D, r.data(), r.back(), c.D);
      },
      [&](auto i, auto j) { return seen_by(c, form, i, j); });
}

EncodingInstance instance(const EncodingCase& c) {
  check_last_queries("transformer_xl", c.Nq(), c.Nk());
  const Form form = form_of(c);
  Parameters parameters;
  const auto make = [&](const char* name, const Shape& shape) {
    const Var parameter = random_parameter(shape, c.seed + parameters.size());
    parameters.emplace_back(name, parameter);
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
  return attention_instance(
      c, std::move(parameters),
      [=](const Context& ctx, AttentionCall& call) {
        call.options.visibility =
            transformer_xl_visibility(c.Nq(), form.past, form.same_length, mem_len_of(form, c.Nq()));
        TransformerXl now = xl;
        if (!form.learned)
          now.rows = reshape(ctx, linear(ctx, sinusoids, projection, {}), {form.rows, c.H, c.D});
        const auto gather = transformer_xl_gather(form.rows, c.Nq(), form.past);
        call.q = add_transformer_xl(ctx, now, call.q, gather, call.options);
      },
      [form](const PlainCall& call) { return reference(call, form); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {7, 7},
                                                  {5, 12},
                                                  {1, 6},
                                                  {5, 6, "learned"},
                                                  {5, 11, "learned"},
                                                  {5, 6, "clamp_len"},
                                                  {5, 11, "clamp_len"},
                                                  {5, 6, "same_length"},
                                                  {5, 11, "same_length"},
                                                  {5, 8}});
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
}  // namespace transformer_xl_encoding

const Encoding kTransformerXl = {
    .name = "transformer_xl",
    .title = "projected sinusoids of the distance met by the query, and biases for keys and distances",
    .place = EncodingPlace::vectors,
    .paper = "Dai et al. 2019, Transformer-XL, section 3.3",
    .models = "Transformer-XL",
    .formula = "s = ((q + u).k + (q + v).r) / sqrt(D), r = W_R sinusoid(i + past - j)",
    .lowering = "q + u as query; band term of r; gather term of (v - u).r",
    .parameters = "C^2 + 2 C",
    .multiply_adds = "N^2 C + N C^2",
    .memory = "3 N C",
    .variants = {"learned", "clamp_len", "same_length"},
    .cases = transformer_xl_encoding::cases,
    .instance = transformer_xl_encoding::instance,
    .index = transformer_xl_encoding::index,
};

}  // namespace locant
