#include "position/sasa.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"
#include "position/catalogue/local_reference.h"

namespace locant {
namespace sasa_encoding {
namespace {

constexpr Grid kBlock{1, 2, 3};  // of the cases: several blocks on small grids

struct Form {
  bool zeros = false, channels = false, per_head = false;
  LocalWindow window = LocalWindow::centred(3);
};

Form form_of(const EncodingCase& c) {
  if (c.variant == "zero_pad") return {.zeros = true};
  if (c.variant == "per_head") return {.per_head = true};
  if (c.variant == "even") return {.zeros = true, .window = {2, 4, 1, 2}};
  if (c.variant == "channels") {
    require(c.D == 1 && c.Dv == 1 && c.H % 2 == 0, "sasa", "channels are heads of width 1, not {}", c.D);
    return {.zeros = true, .channels = true};
  }
  return {};
}

// Width of a head's half of the table, and its vectors.
std::int64_t half_width(const EncodingCase& c, const Form& form) { return form.channels ? 1 : c.D / 2; }

Complexes reference(const PlainCall& call, const Form& form) {
  const EncodingCase& c = call.c;
  const LocalWindow w = form.window;
  const std::int64_t X = c.query.columns, half = half_width(c, form);
  const auto row = [&](const Complexes& table, std::int64_t h, std::int64_t k, std::int64_t at) {
    return table.data() + ((form.per_head || form.channels ? h * k : 0) + at) * half;
  };
  return plain_local_attention(
      call, form.zeros,
      [&](std::int64_t i) {
        std::vector<std::pair<std::int64_t, std::int64_t>> places;
        for (std::int64_t a = 0; a < w.rows; ++a)
          for (std::int64_t b = 0; b < w.columns; ++b)
            places.emplace_back(i / X - w.top + a, i % X - w.left + b);
        return places;
      },
      [&](auto b, auto h, auto i, auto y, auto column, const Complex* k) {
        const auto off_y = y - i / X + w.top, off_x = column - i % X + w.left;
        const Complex* q = call.query(b, h, i);
        if (form.channels)
          return q[0] * (k[0] + (h < c.H / 2 ? *row(call.x[3], h, w.rows, off_y)
                                             : *row(call.x[4], h - c.H / 2, w.columns, off_x)));
        return sasa_score(q, k, row(call.x[3], h, w.rows, off_y), row(call.x[4], h, w.columns, off_x), c.D);
      });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const LocalWindow w = form.window;
  const auto maps = local_rows(c.query, w, kBlock);
  const AxisIndices indices = local_indices(*maps, c.Nq(), w, kBlock);
  const auto gather = local_gather(w, kBlock);
  const std::int64_t half = half_width(c, form), C = c.H / 2;
  const auto table = [&](std::int64_t k, const Shape& channels, std::uint64_t seed) {
    const Shape shape = form.channels ? channels : form.per_head ? Shape{c.H, k, half} : Shape{k, half};
    return random_parameter(shape, seed);
  };
  const Sasa tables{table(w.rows, {C, 1, 1, w.rows, 1}, c.seed),
                    table(w.columns, {C, 1, 1, 1, w.columns}, c.seed + 1)};
  return attention_instance(
      c, {{Sasa::kRows, tables.rows}, {Sasa::kColumns, tables.columns}},
      [=](const Context& ctx, AttentionCall& call) {
        AttentionOptions& options = call.options;
        options.scale = 1.0f;
        options.rows = maps;
        options.zero_pad = form.zeros;
        options.terms = {form.channels ? sasa_channel_term(ctx, tables, c.H, w, gather)
                                       : sasa_term(ctx, tables, call.q, c.H, w, indices)};
      },
      [form](const PlainCall& call) { return reference(call, form); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = grid_cases(
      {{1, 1}, {2, 3}, {5, 4}, {3, 4, "zero_pad"}, {3, 4, "per_head"}, {4, 3, "even"}, {3, 4, "channels"}});
  out[1].Dv = 3, out[1].B = 2;
  out.back().H = 4, out.back().D = out.back().Dv = 1;
  return out;
}

// Places of the window, row-major.
std::vector<std::int64_t> index(const EncodingCase& c) {
  const LocalWindow w = form_of(c).window;
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) -> std::int64_t {
    const std::int64_t y = local_row(w.rows, i / c.query.columns, j / c.key.columns + w.top);
    const std::int64_t x = local_row(w.columns, i % c.query.columns, j % c.key.columns + w.left);
    return y >= 0 && x >= 0 ? y * w.columns + x : -1;
  });
}

}  // namespace
}  // namespace sasa_encoding

const Encoding kSasa = {
    .name = "sasa",
    .title = "a window around each query; row vectors meet one half of it, column vectors the other",
    .place = EncodingPlace::vectors,
    .paper = "Ramachandran et al. 2019, Stand-Alone Self-Attention in Vision Models",
    .models = "SASA ResNets",
    .formula = "s = q.k + q.concat(Er[y_j - y_i], Ec[x_j - x_i]), j in a k x k window",
    .lowering = "axis term of q's halves, local row maps; per channel: band term of the query",
    .parameters = "k D",
    .multiply_adds = "H N k D",
    .memory = "2 H N (b + k - 1), blocks of b x b queries",
    .grids = EncodingGrids::one_flat,
    .variants = {"zero_pad", "per_head", "even", "channels"},
    .cases = sasa_encoding::cases,
    .instance = sasa_encoding::instance,
    .index = sasa_encoding::index,
};

}  // namespace locant
