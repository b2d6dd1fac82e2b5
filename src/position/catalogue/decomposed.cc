#include "position/decomposed.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "position/catalogue/instance.h"

namespace locant {
namespace decomposed_encoding {
namespace {

constexpr Grid kWindow{1, 2, 3};
constexpr std::int64_t kStored = 7;  // rows of the tables that the variant `resized` resizes

struct Form {
  bool window = false, resized = false, video = false;
};

Form form_of(const EncodingCase& c) {
  if (c.variant == "window") return {.window = true};
  if (c.variant == "resized") return {.resized = true};
  if (c.variant == "video") return {.video = true};
  return {};
}

Grid query_grid(const EncodingCase& c) { return form_of(c).window ? kWindow : c.query; }
Grid key_grid(const EncodingCase& c) { return form_of(c).window ? kWindow : c.key; }

// The table at `rows` rows, sample by sample.
Complexes plain_resize(const Complexes& table, std::int64_t D, std::int64_t rows) {
  const std::int64_t from = static_cast<std::int64_t>(table.size()) / D;
  Complexes out;
  for (std::int64_t r = 0; r < rows; ++r) {
    const double x = std::max(0.0, (double(r) + 0.5) * double(from) / double(rows) - 0.5);
    const auto low = static_cast<std::int64_t>(x), high = std::min(low + 1, from - 1);
    for (std::int64_t d = 0; d < D; ++d)
      out.push_back(table[static_cast<std::size_t>(low * D + d)] * (1.0 - (x - double(low))) +
                    table[static_cast<std::size_t>(high * D + d)] * (x - double(low)));
  }
  return out;
}

Complexes reference(const PlainCall& call) {
  const EncodingCase& c = call.c;
  const Form form = form_of(c);
  const Grid query = query_grid(c), key = key_grid(c);
  const auto fitted = [&](std::size_t n, std::int64_t Q, std::int64_t K) {
    return plain_resize(call.x[n], c.D, 2 * std::max(Q, K) - 1);
  };
  const std::size_t first = form.video ? 4 : 3;
  const Complexes frames = form.video ? fitted(3, query.frames, key.frames) : Complexes{};
  const Complexes rows = fitted(first, query.rows, key.rows);
  const Complexes columns = fitted(first + 1, query.columns, key.columns);
  const std::int64_t Y = kWindow.rows, X = kWindow.columns;
  const auto score = [&](auto b, auto h, auto i, auto j) {
    Complex s = call.score(b, h, i, j);
    if (i < c.prefix || j < c.prefix) return s;
    const auto m = i - c.prefix, n = j - c.prefix;
    auto y1 = m / c.query.columns % c.query.rows, x1 = m % c.query.columns;
    auto y2 = n / c.key.columns % c.key.rows, x2 = n % c.key.columns;
    if (form.window) y1 %= Y, x1 %= X, y2 %= Y, x2 %= X;
    const Complex* q = call.query(b, h, i);
    s += decomposed_score(q, rows.data(), c.D, query.rows, key.rows, y1, y2);
    s += decomposed_score(q, columns.data(), c.D, query.columns, key.columns, x1, x2);
    if (form.video)
      s += decomposed_score(q, frames.data(), c.D, query.frames, key.frames,
                            m / (c.query.rows * c.query.columns), n / (c.key.rows * c.key.columns));
    return s;
  };
  const auto seen = [&](auto i, auto j) {
    const auto w = c.query.columns;
    return !form.window || (i / w / Y == j / w / Y && i % w / X == j % w / X);
  };
  return plain_attention(call, score, seen);
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const Grid query = query_grid(c), key = key_grid(c);
  std::shared_ptr<const RowMaps> maps;
  AxisIndices indices;
  if (form.window) {
    const bool one =
        c.query.frames == c.key.frames && c.query.rows == c.key.rows && c.query.columns == c.key.columns;
    require(one && c.prefix == 0, "decomposed", "windows are of one grid, without the {} tokens in front",
            c.prefix);
    maps = std::make_shared<RowMaps>(block_rows("decomposed", c.query, kWindow, {}));
    indices = decomposed_window_indices(*maps, c.query.tokens(), kWindow, kWindow);
  } else {
    indices = decomposed_indices(query, key, c.prefix, form.video);
  }
  Parameters parameters;
  std::vector<Var> tables;
  for (const GridAxis axis : {GridAxis::frames, GridAxis::rows, GridAxis::columns}) {
    static constexpr const char* kNames[3] = {Decomposed::kFrames, Decomposed::kRows, Decomposed::kColumns};
    const std::int64_t rows = decomposed_rows(extent_of(query, axis), extent_of(key, axis));
    const auto a = static_cast<std::size_t>(axis);
    tables.push_back(random_parameter({form.resized ? kStored : rows, c.D}, c.seed + a));
    if (axis != GridAxis::frames || form.video) parameters.emplace_back(kNames[a], tables.back());
  }
  return attention_instance(
      c, std::move(parameters),
      [=](const Context& ctx, AttentionCall& call) {
        const Decomposed fitted{tables[0], resize_decomposed(ctx, tables[1], query.rows, key.rows),
                                resize_decomposed(ctx, tables[2], query.columns, key.columns)};
        call.options.rows = maps;
        call.options.terms = {decomposed_term(ctx, fitted, call.q, c.H, indices)};
      },
      reference);
}

std::vector<EncodingCase> cases() {
  const auto of = [](Grid query, Grid key, std::int64_t prefix = 0, const char* variant = "") {
    return EncodingCase{.query = query, .key = key, .prefix = prefix, .variant = variant};
  };
  std::vector<EncodingCase> out = {of({1, 1, 1}, {1, 1, 1}),
                                   of({1, 2, 2}, {1, 2, 2}),
                                   of({1, 3, 5}, {1, 3, 5}),
                                   of({1, 4, 4}, {1, 2, 2}, 1),
                                   of({1, 2, 3}, {1, 4, 3}),
                                   of({1, 3, 2}, {1, 2, 5}, 2),
                                   of({1, 5, 4}, {1, 5, 4}, 0, "window"),
                                   of({1, 3, 5}, {1, 3, 5}, 0, "resized"),
                                   of({2, 2, 3}, {3, 2, 2}, 1, "video")};
  out.push_back(of({1, 3, 3}, {1, 3, 3}));
  out.back().B = 2, out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

// The map of the vertical axis; the other is drawn alike.
std::vector<std::int64_t> index(const EncodingCase& c) {
  const Grid query = query_grid(c), key = key_grid(c);
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) -> std::int64_t {
    if (i < c.prefix || j < c.prefix) return -1;
    const std::int64_t a = place_of(c.query, GridAxis::rows, i - c.prefix);
    const std::int64_t b = place_of(c.key, GridAxis::rows, j - c.prefix);
    return decomposed_row(query.rows, key.rows, a % query.rows, b % key.rows);
  });
}

}  // namespace
}  // namespace decomposed_encoding

const Encoding kDecomposed = {
    .name = "decomposed",
    .title = "a learned vector per vertical and per horizontal displacement, met by the query",
    .place = EncodingPlace::vectors,
    .paper = "Li et al. 2022, MViTv2",
    .models = "SAM, ViTDet, MViTv2",
    .formula = "s = q.k / sqrt(D) + q.Rh[I(y_i, y_j)] + q.Rw[I(x_i, x_j)]",
    .lowering = "axis term of q Rh^T and q Rw^T per coordinate",
    .parameters = "(2h - 1 + 2w - 1) D",
    .multiply_adds = "H N (h + w) D",
    .memory = "H N (h + w)",
    .growth = MemoryGrowth::axis,
    .prefix = true,
    .variants = {"window", "resized", "video"},
    .cases = decomposed_encoding::cases,
    .instance = decomposed_encoding::instance,
    .index = decomposed_encoding::index,
};

}  // namespace locant
