#include "position/sasa.h"

#include <algorithm>

#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/grid_gather.h"
#include "position/local_reference.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {

constexpr const char* kName = "sasa";

void check_window(const LocalWindow& w) {
  require(w.rows >= 1 && w.columns >= 1 && w.rows <= 512 && w.columns <= 512 && w.top >= 0 && w.left >= 0 &&
              w.top < w.rows && w.left < w.columns,
          kName, "a window of {}x{} that starts {} above and {} left of its query", w.rows, w.columns, w.top,
          w.left);
}

}  // namespace

std::shared_ptr<const RowMaps> local_rows(const Grid& grid, const LocalWindow& window, const Grid& block) {
  check_window(window);
  const Halo halo{window.top, window.left, window.rows - 1 - window.top, window.columns - 1 - window.left};
  auto maps = std::make_shared<RowMaps>(block_rows(kName, grid, block, halo));
  maps->box_columns = block.columns + window.columns - 1;
  for (std::int64_t slot = 0; slot < maps->groups * maps->queries; ++slot) {
    const std::int64_t y = place_of(block, GridAxis::rows, slot % maps->queries);
    const std::int64_t x = place_of(block, GridAxis::columns, slot % maps->queries);
    for (const std::int64_t edge : {y, y + window.rows, x, x + window.columns})
      maps->query_box.push_back(static_cast<std::int32_t>(edge));
  }
  return maps;
}

AxisIndices local_indices(const RowMaps& maps, std::int64_t tokens, const LocalWindow& window,
                          const Grid& block) {
  check_window(window);
  check_grid(kName, block, "the block");
  const auto of = [&](GridAxis axis, std::int64_t k) {
    const std::int64_t places = extent_of(block, axis);
    return make_axis_index(block_places(maps, block, axis, tokens), places, places + k - 1,
                           [&](std::int64_t a, std::int64_t b) { return local_row(k, a, b); });
  };
  return {nullptr, of(GridAxis::rows, window.rows), of(GridAxis::columns, window.columns), 0};
}

std::shared_ptr<const GatherMap> local_gather(const LocalWindow& window, const Grid& block) {
  check_window(window);
  check_grid(kName, block, "the block");
  const Grid keys{1, block.rows + window.rows - 1, block.columns + window.columns - 1};
  return grid_gather(kName, block, keys, window.rows * window.columns, {}, 1,
                     [&](std::int64_t, std::int64_t off_y, std::int64_t off_x) -> std::int64_t {
                       const std::int64_t y = local_row(window.rows, off_y, 0);
                       const std::int64_t x = local_row(window.columns, off_x, 0);
                       return y >= 0 && x >= 0 ? y * window.columns + x : -1;
                     });
}

AttentionTerm sasa_term(const Context& ctx, const Sasa& tables, const Var& q, std::int64_t heads,
                        const LocalWindow& window, const AxisIndices& indices) {
  const std::int64_t half = half_head_width(kName, q, heads);
  return axis_products_term(ctx, kName, q, heads,
                            {AxisTable{"frames"},
                             {Sasa::kRows, tables.rows, window.rows, half},
                             {Sasa::kColumns, tables.columns, window.columns, half, {.first = half}}},
                            indices);
}

AttentionTerm sasa_channel_term(const Context& ctx, const Sasa& tables, std::int64_t channels,
                                const LocalWindow& window, std::shared_ptr<const GatherMap> gather) {
  require(channels >= 2 && channels % 2 == 0, kName, "{} channels do not split into two halves", channels);
  const std::int64_t half = channels / 2;
  check_table(kName, Sasa::kRows, tables.rows, {half, 1, 1, window.rows, 1});
  check_table(kName, Sasa::kColumns, tables.columns, {half, 1, 1, 1, window.columns});
  const Var none(Tensor::zeros({half, window.rows, window.columns}));
  const Var rows = add_broadcast(ctx, none, reshape(ctx, tables.rows, {half, window.rows, 1}));
  const Var columns = add_broadcast(ctx, none, reshape(ctx, tables.columns, {half, 1, window.columns}));
  const Var all = concat_axis(ctx, {rows, columns}, 0);
  return band_term(Side::query, reshape(ctx, all, {channels, window.rows * window.columns, 1}),
                   std::move(gather));
}

namespace {

constexpr Grid kBlock{1, 2, 3};  // of the cases: several blocks on small grids

struct Form {
  bool zeros = false, channels = false, per_head = false;
  LocalWindow window = LocalWindow::centred(3);
};

Form form_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  check_one_grid(kName, c);
  if (c.variant.empty()) return {};
  if (c.variant == "zero_pad") return {.zeros = true};
  if (c.variant == "per_head") return {.per_head = true};
  if (c.variant == "even") return {.zeros = true, .window = {2, 4, 1, 2}};
  if (c.variant == "channels") {
    require(c.D == 1 && c.Dv == 1 && c.H % 2 == 0, kName, "channels are heads of width 1, not {}", c.D);
    return {.zeros = true, .channels = true};
  }
  fail(kName, "unknown variant \"{}\"; there are zero_pad, per_head, even, channels", c.variant);
}

// Width of a head's half of the table, and its vectors.
std::int64_t half_width(const EncodingCase& c, const Form& form) { return form.channels ? 1 : c.D / 2; }

Complexes reference(const EncodingCase& c, const Form& form, const std::vector<Complexes>& x) {
  using T = std::complex<double>;
  const PlainCall<T> call{c, x[0], x[1], x[2]};
  const LocalWindow w = form.window;
  const std::int64_t X = c.query.columns, half = half_width(c, form);
  const auto row = [&](const Complexes& table, std::int64_t h, std::int64_t k, std::int64_t at) {
    return table.data() + ((form.per_head || form.channels ? h * k : 0) + at) * half;
  };
  return plain_local_attention<T>(
      call, form.zeros,
      [&](std::int64_t i) {
        std::vector<std::pair<std::int64_t, std::int64_t>> places;
        for (std::int64_t a = 0; a < w.rows; ++a)
          for (std::int64_t b = 0; b < w.columns; ++b)
            places.emplace_back(i / X - w.top + a, i % X - w.left + b);
        return places;
      },
      [&](auto b, auto h, auto i, auto y, auto column, const T* k) {
        const auto off_y = y - i / X + w.top, off_x = column - i % X + w.left;
        const T* q = call.query(b, h, i);
        if (form.channels)
          return q[0] * (k[0] + (h < c.H / 2 ? *row(x[3], h, w.rows, off_y)
                                             : *row(x[4], h - c.H / 2, w.columns, off_x)));
        return sasa_score(q, k, row(x[3], h, w.rows, off_y), row(x[4], h, w.columns, off_x), c.D);
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
  return axis_instance(
      c, {{Sasa::kRows, tables.rows}, {Sasa::kColumns, tables.columns}},
      [=](const Context& ctx, const Var& q, AttentionOptions& options) {
        options.scale = 1.0f;
        options.rows = maps;
        options.zero_pad = form.zeros;
        options.terms = {form.channels ? sasa_channel_term(ctx, tables, c.H, w, gather)
                                       : sasa_term(ctx, tables, q, c.H, w, indices)};
      },
      [=](const std::vector<Complexes>& x) { return reference(c, form, x); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = {grid_case({1, 1, 1}),
                                   grid_case({1, 2, 3}),
                                   grid_case({1, 5, 4}),
                                   grid_case({1, 3, 4}, "zero_pad"),
                                   grid_case({1, 3, 4}, "per_head"),
                                   grid_case({1, 4, 3}, "even"),
                                   grid_case({1, 3, 4}, "channels")};
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

const Encoding kSasa = {
    .name = kName,
    .header = "position/sasa.h",
    .title = "a window around each query; row vectors meet one half of it, column vectors the other",
    .place = EncodingPlace::vectors,
    .paper = "Ramachandran et al. 2019, Stand-Alone Self-Attention in Vision Models",
    .models = "SASA ResNets",
    .formula = "s = q.k + q.concat(Er[y_j - y_i], Ec[x_j - x_i]), j in a k x k window",
    .lowering = "axis term of q's halves, local row maps; per channel: band term of the query",
    .parameters = "k D",
    .multiply_adds = "H N k D",
    .memory = "2 H N (b + k - 1), blocks of b x b queries",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
