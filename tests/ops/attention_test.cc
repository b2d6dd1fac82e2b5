#include "ops/attention.h"

#include <cmath>
#include <complex>
#include <numeric>

#include "core/error.h"
#include "core/parallel.h"
#include "core/pool.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace {

using testing::expect_op;
using testing::random_tensor;

using Op = Var (*)(const Context&, const Var&, const AttentionOptions&);
constexpr Op kFused = attention;
constexpr Op kComposed = attention_composed;

/// Softmax attention on a joint projection, by its formula: inputs {qkv, one table a term, pad bias if any}.
struct Formula {
  std::int64_t B, N, H, D;
  AttentionOptions options;  ///< tables are taken from the inputs instead

  const std::vector<std::int32_t>* rows(std::vector<std::int32_t> RowMaps::*which) const {
    return options.rows != nullptr && !((*options.rows).*which).empty() ? &((*options.rows).*which) : nullptr;
  }

  std::int64_t groups() const { return options.rows != nullptr ? options.rows->groups : 1; }
  std::int64_t queries() const { return options.rows != nullptr ? options.rows->queries : N; }
  std::int64_t keys() const { return options.rows != nullptr ? options.rows->keys : N; }

  template <class T>
  T term(const std::vector<T>& table, std::size_t t, const std::array<std::int64_t, 5>& at) const {
    const auto [b, g, h, i, j] = at;
    const AttentionTerm& term = options.terms[t];
    if (term.gather != nullptr) {
      const GatherMap& gather = *term.gather;
      std::int64_t row = gather.query_code[static_cast<std::size_t>(i)] -
                         gather.key_code[static_cast<std::size_t>(j)] + gather.origin;
      if (!gather.map.empty()) row = gather.map[static_cast<std::size_t>(row)];
      return row < 0 ? T(0) : table[static_cast<std::size_t>(row * H + h)];
    }
    const std::int64_t full[5] = {b, g, h, i, j};
    std::int64_t index = 0;
    const Shape& shape = term.table.shape();
    for (int axis = 0; axis < shape.rank(); ++axis)
      index = index * shape[axis] + (shape[axis] == 1 ? 0 : full[5 - shape.rank() + axis]);
    return table[static_cast<std::size_t>(index)];
  }

  bool visible(std::int64_t b, std::int64_t g, std::int64_t i, std::int64_t j) const {
    if (!options.key_lengths.empty() && j >= options.key_lengths[static_cast<std::size_t>(b)]) return false;
    if (const auto* region = rows(&RowMaps::query_region))
      if ((*region)[static_cast<std::size_t>(g * queries() + i)] !=
          options.rows->key_region[static_cast<std::size_t>(g * keys() + j)])
        return false;
    return slot(&RowMaps::key_rows, g, keys(), j) >= 0 || options.pad_bias.defined();
  }

  std::int64_t slot(std::vector<std::int32_t> RowMaps::*which, std::int64_t g, std::int64_t count,
                    std::int64_t i) const {
    const auto* map = rows(which);
    return map != nullptr ? (*map)[static_cast<std::size_t>(g * count + i)] : g * count + i;
  }

  template <class T>
  std::vector<T> operator()(const testing::Values<T>& in) const {
    std::vector<T> out(static_cast<std::size_t>(B * N * H * D));
    const std::vector<T>& pad = in.back();
    const double scale =
        options.scale != 0.0f ? static_cast<double>(options.scale) : 1 / std::sqrt(static_cast<double>(D));
    const auto number = [&](std::int64_t part, std::int64_t b, std::int64_t row, std::int64_t h,
                            std::int64_t d) {
      return row >= 0 ? in[0][static_cast<std::size_t>(((b * N + row) * 3 + part) * H * D + h * D + d)]
                      : pad[static_cast<std::size_t>((part * H + h) * D + d)];
    };
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t g = 0; g < groups(); ++g)
        for (std::int64_t h = 0; h < H; ++h)
          for (std::int64_t i = 0; i < queries(); ++i) {
            const std::int64_t query = slot(&RowMaps::query_rows, g, queries(), i);
            if (query < 0) continue;
            std::vector<T> sum(static_cast<std::size_t>(D));
            T total = 0;
            for (std::int64_t j = 0; j < keys(); ++j) {
              if (!visible(b, g, i, j)) continue;
              const std::int64_t key = slot(&RowMaps::key_rows, g, keys(), j);
              T score = 0;
              for (std::int64_t d = 0; d < D; ++d)
                score += number(0, b, query, h, d) * number(1, b, key, h, d);
              score *= scale;
              for (std::size_t t = 0; t < options.terms.size(); ++t)
                score += term(in[1 + t], t, {b, g, h, i, j});
              const T weight = std::exp(score);
              total += weight;
              for (std::int64_t d = 0; d < D; ++d)
                sum[static_cast<std::size_t>(d)] += weight * number(2, b, key, h, d);
            }
            for (std::int64_t d = 0; d < D && total != T(0); ++d)
              out[static_cast<std::size_t>((b * N + query) * H * D + h * D + d)] =
                  sum[static_cast<std::size_t>(d)] / total;
          }
    return out;
  }
};

// Both ways against the formula: result and the gradient of qkv, of every table and of the pad bias.
void check(const char* what, const Formula& formula) {
  std::vector<Tensor> inputs = {random_tensor({formula.B, formula.N, 3 * formula.H * formula.D}, 1)};
  for (const AttentionTerm& term : formula.options.terms)
    inputs.push_back(random_tensor(term.table.shape(), inputs.size() + 1));
  if (formula.options.pad_bias.defined())
    inputs.push_back(random_tensor(formula.options.pad_bias.shape(), 50));
  for (const Op attend : {kComposed, kFused}) {
    SCOPED_TRACE(attend == kFused ? "fused" : "composed");
    expect_op(
        what, inputs,
        [&](const Context& ctx, const auto& v) {
          AttentionOptions options = formula.options;
          for (std::size_t t = 0; t < options.terms.size(); ++t) options.terms[t].table = v[1 + t];
          if (options.pad_bias.defined()) options.pad_bias = v.back();
          return attend(ctx, v[0], options);
        },
        [&](const auto& in) { return formula(in); }, testing::Derivative::complex_step, 5e-6);
  }
}

Var table(const Shape& shape) { return Var(Tensor::zeros(shape)); }

// Swin's window codes on a window of `side` x `side`.
std::shared_ptr<const GatherMap> window_map(std::int32_t side) {
  GatherMap map;
  for (std::int32_t y = 0; y < side; ++y)
    for (std::int32_t x = 0; x < side; ++x) map.query_code.push_back(y * (2 * side - 1) + x);
  map.key_code = map.query_code;
  map.origin = (side - 1) * 2 * side;
  map.offsets = (2 * side - 1) * (2 * side - 1);
  return std::make_shared<const GatherMap>(map);
}

// 5 x 4 tokens in four windows of 3 x 3, shifted by one: padding slots, and regions that do not see each
// other.
std::shared_ptr<const RowMaps> shifted_windows() {
  RowMaps maps;
  maps.groups = 4;
  maps.queries = maps.keys = 9;
  for (std::int32_t wy = 0; wy < 2; ++wy)
    for (std::int32_t wx = 0; wx < 2; ++wx)
      for (std::int32_t y = 3 * wy; y < 3 * wy + 3; ++y)
        for (std::int32_t x = 3 * wx; x < 3 * wx + 3; ++x) {
          const std::int32_t row = (y + 1) % 6, column = (x + 1) % 6;
          maps.query_rows.push_back(row < 5 && column < 4 ? row * 4 + column : -1);
          maps.query_region.push_back((y < 3 ? 0 : y < 5 ? 1 : 2) * 3 + (x < 3 ? 0 : x < 5 ? 1 : 2));
        }
  maps.key_rows = maps.query_rows;
  maps.key_region = maps.query_region;
  return std::make_shared<const RowMaps>(maps);
}

TEST(Attention, Plain) {
  for (const auto& [B, N, H, D] : {std::array<std::int64_t, 4>{1, 1, 1, 1}, {2, 5, 3, 2}, {1, 17, 2, 5}}) {
    check("default scale", {B, N, H, D, {.heads = H}});
    check("own scale", {B, N, H, D, {.heads = H, .scale = 0.3f}});
  }
}

TEST(Attention, KeyLengthsHideKeysAndAllOfThem) {
  check("lengths", {3, 6, 2, 3, {.heads = 2, .key_lengths = {6, 2, 0}}});
}

TEST(Attention, DenseTermsOfEveryRank) {
  for (const Shape& shape : {Shape{5, 5}, {2, 5, 5}, {1, 2, 5, 5}, {3, 1, 2, 5, 5}, {3, 1, 1, 5, 5}})
    check(shape.str().c_str(), {3, 5, 2, 3, {.heads = 2, .terms = {dense_term(table(shape))}}});
}

TEST(Attention, GatherTerm) {
  check("gather", {2, 9, 2, 4, {.heads = 2, .terms = {gather_term(table({25, 2}), window_map(3))}}});
}

TEST(Attention, GatherTermThroughAMap) {
  GatherMap map = *window_map(2);
  map.map = {0, 1, -1, 2, 0, 3, 3, -1, 2};  // shared rows and offsets that add nothing
  const auto shared = std::make_shared<const GatherMap>(map);
  check("mapped",
        {2,
         4,
         3,
         2,
         {.heads = 3, .terms = {gather_term(table({4, 3}), shared), dense_term(table({3, 4, 4}))}}});
}

TEST(Attention, ShiftedWindowsWithPaddingMasked) {
  check("masked",
        {2,
         20,
         2,
         3,
         {.heads = 2, .rows = shifted_windows(), .terms = {gather_term(table({25, 2}), window_map(3))}}});
}

TEST(Attention, ShiftedWindowsWithPaddingAsKeys) {
  check("pad bias", {2,
                     20,
                     2,
                     3,
                     {.heads = 2,
                      .rows = shifted_windows(),
                      .terms = {gather_term(table({25, 2}), window_map(3))},
                      .pad_bias = table({3 * 2 * 3})}});
}

TEST(Attention, SharedKeysAndUncoveredRows) {
  RowMaps maps;  // two groups of two queries among six tokens; row 3 is a key of both groups, rows 4 and 5
                 // are nobody's query
  maps.groups = 2;
  maps.queries = 2;
  maps.keys = 3;
  maps.query_rows = {0, 2, 1, 3};
  maps.key_rows = {3, 0, 5, 3, -1, 2};
  check("shared", {2, 6, 1, 4, {.heads = 1, .rows = std::make_shared<const RowMaps>(maps)}});
}

TEST(Attention, SeparateInputsOfDifferentLengths) {
  const std::int64_t B = 2, Nq = 3, Nk = 5, H = 2, D = 3, Dv = 4;
  const std::vector<Tensor> inputs = {random_tensor({B, Nq, H * D}, 1), random_tensor({B, Nk, H * D}, 2),
                                      random_tensor({B, Nk, H * Dv}, 3)};
  for (const bool fused : {false, true})
    expect_op(
        fused ? "fused" : "composed", inputs,
        [&](const Context& ctx, const auto& v) {
          return fused ? attention(ctx, v[0], v[1], v[2], {.heads = H})
                       : attention_composed(ctx, v[0], v[1], v[2], {.heads = H});
        },
        [&](const auto& in) {
          using T = typename std::decay_t<decltype(in[0])>::value_type;
          std::vector<T> out;
          for (std::int64_t row = 0; row < B * Nq * H; ++row) {
            const std::int64_t b = row / (Nq * H), i = row / H % Nq, h = row % H;
            std::vector<T> sum(static_cast<std::size_t>(Dv));
            T total = 0;
            for (std::int64_t j = 0; j < Nk; ++j) {
              T score = 0;
              for (std::int64_t d = 0; d < D; ++d)
                score += in[0][static_cast<std::size_t>((b * Nq + i) * H * D + h * D + d)] *
                         in[1][static_cast<std::size_t>((b * Nk + j) * H * D + h * D + d)];
              const T weight = std::exp(score / std::sqrt(3.0));
              total += weight;
              for (std::int64_t d = 0; d < Dv; ++d)
                sum[static_cast<std::size_t>(d)] +=
                    weight * in[2][static_cast<std::size_t>((b * Nk + j) * H * Dv + h * Dv + d)];
            }
            for (const T& v : sum) out.push_back(v / total);
          }
          return out;
        },
        testing::Derivative::complex_step, 5e-6);
}

TEST(Attention, FusedAgreesWithComposedOnASwinStage) {
  // 14 x 14 tokens, windows of 7, no shift; wide enough for whole register tiles.
  RowMaps maps;
  maps.groups = 4;
  maps.queries = maps.keys = 49;
  for (std::int32_t w = 0; w < 4; ++w)
    for (std::int32_t i = 0; i < 49; ++i)
      maps.query_rows.push_back((w / 2 * 7 + i / 7) * 14 + w % 2 * 7 + i % 7);
  maps.key_rows = maps.query_rows;
  AttentionOptions options{.heads = 3, .rows = std::make_shared<const RowMaps>(maps)};
  options.terms = {gather_term(Var(random_tensor({169, 3}, 2), true), window_map(7))};
  const Tensor qkv = random_tensor({2, 196, 3 * 3 * 32}, 1), dy = random_tensor({2, 196, 96}, 3);
  Tensor gradients[2][2], results[2];
  for (const int fused : {0, 1}) {
    Tape tape;
    const Var x(qkv, true);
    options.terms[0].table.clear_grad();
    const Var y = (fused == 1 ? kFused : kComposed)({.tape = &tape}, x, options);
    tape.backward({{y, dy}});
    results[fused] = y.value();
    gradients[fused][0] = x.grad();
    gradients[fused][1] = options.terms[0].table.grad();
  }
  testing::expect_close(results[1], testing::to_double(results[0]), 1e-5, "result");
  testing::expect_close(gradients[1][0], testing::to_double(gradients[0][0]), 1e-5, "dqkv");
  testing::expect_close(gradients[1][1], testing::to_double(gradients[0][1]), 1e-5, "dtable");
}

TEST(Attention, FusedNeverHoldsAllScores) {
  const std::int64_t N = 2048, width = 64;
  const Tensor qkv = random_tensor({1, N, 3 * width}, 1);
  Pool::global().reset_peak();
  const std::int64_t before = Pool::global().stats().live_bytes;
  Tape tape;
  const Var x(qkv, true);
  const Var y = attention({.tape = &tape}, x, {.heads = 1});
  tape.backward({{y, y.value().clone()}});
  const Pool::Stats stats = Pool::global().stats();
  EXPECT_LT(stats.largest_request, N * N);  // bytes: a quarter of the scores
  EXPECT_LT(stats.peak_bytes - before, N * N * 2);
}

TEST(Attention, RowOfOneQuery) {
  const Tensor qkv = random_tensor({2, 5, 3 * 2 * 3}, 1);
  const Tensor row = attention_row(qkv, 2, 0.0f, 3);
  ASSERT_EQ(row.shape(), (Shape{2, 2, 5}));
  // With v = the unit vectors, attention's result is its probabilities.
  Tensor units = Tensor::zeros({2, 5, 2 * 5});
  Tensor q({2, 5, 6}), k({2, 5, 6});
  for (std::int64_t r = 0; r < 10; ++r) {
    std::copy_n(qkv.data() + r * 18, 6, q.data() + r * 6);
    std::copy_n(qkv.data() + r * 18 + 6, 6, k.data() + r * 6);
    units[r * 10 + r % 5] = units[r * 10 + 5 + r % 5] = 1.0f;
  }
  const Tensor all = attention_composed({}, Var(q), Var(k), Var(units), {.heads = 2}).value();
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t h = 0; h < 2; ++h)
      for (std::int64_t j = 0; j < 5; ++j)
        EXPECT_NEAR(row[(b * 2 + h) * 5 + j], all[(b * 5 + 3) * 10 + h * 5 + j], 1e-6);
  EXPECT_THROW(attention_row(qkv, 2, 0.0f, 5), Error);
}

TEST(Attention, WrongSizesAreErrors) {
  const Var qkv(Tensor::zeros({2, 4, 18}));
  const auto rows = [](RowMaps maps) { return std::make_shared<const RowMaps>(std::move(maps)); };
  const auto gather = [](GatherMap map) { return std::make_shared<const GatherMap>(std::move(map)); };
  const std::vector<AttentionOptions> bad = {
      {.heads = 0},
      {.heads = 4},
      {.heads = 2, .rows = rows({.groups = 2, .queries = 2, .keys = 4})},  // identity of 8 keys
      {.heads = 2, .rows = rows({.groups = 1, .queries = 4, .keys = 4, .query_rows = {0, 1, 2}})},  // too few
      {.heads = 2,
       .rows = rows({.groups = 1, .queries = 4, .keys = 4, .query_rows = {0, 1, 2, 4}})},  // outside
      {.heads = 2,
       .rows = rows({.groups = 1, .queries = 4, .keys = 4, .query_rows = {0, 1, 2, 2}})},  // twice
      {.heads = 2, .rows = rows({.groups = 1, .queries = 4, .keys = 4, .query_region = {0, 0, 0, 0}})},
      {.heads = 2, .key_lengths = {4}},
      {.heads = 2, .key_lengths = {4, 5}},
      {.heads = 2, .terms = {dense_term(table({4, 5}))}},
      {.heads = 2, .terms = {dense_term(table({3, 4, 4}))}},
      {.heads = 2, .terms = {gather_term(table({9, 3}), window_map(2))}},
      {.heads = 2, .terms = {gather_term(table({8, 2}), window_map(2))}},
      {.heads = 2, .terms = {gather_term(table({25, 2}), window_map(3))}},
      {.heads = 2, .terms = {gather_term(table({9, 2}), gather({{0, 1, 2, 9}, {0, 1, 2, 3}, 3, {}, 9}))}},
      {.heads = 2, .terms = {dense_term(Var())}},
      {.heads = 2, .terms = std::vector<AttentionTerm>(5, dense_term(table({4, 4})))},
      {.heads = 2, .pad_bias = table({17})},
  };
  for (const AttentionOptions& options : bad)
    for (const Op attend : {kComposed, kFused}) {
      SCOPED_TRACE(&options - bad.data());
      try {
        attend({}, qkv, options);
        ADD_FAILURE() << "accepted";
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).rfind("[attention] ", 0), 0U) << error.what();
      }
    }
  const Var q(Tensor::zeros({2, 3, 6})), k(Tensor::zeros({2, 5, 6})), v(Tensor::zeros({2, 4, 6}));
  EXPECT_THROW(attention({}, q, k, v, {.heads = 2}), Error);
  EXPECT_THROW(attention({}, Var(Tensor::zeros({2, 18})), {.heads = 2}), Error);
}

}  // namespace
}  // namespace locant
