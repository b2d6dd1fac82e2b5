// Goldens: tests/data/oracle/official/irpe/irpe_buckets.json, buckets of the official code (microsoft/Cream).
#include "position/irpe.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tests/position/sine_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace irpe_test {

using nlohmann::json;
using testing::random_tensor;

const json& oracle() {
  static const json file =
      json::parse(std::ifstream(LOCANT_TEST_DATA "/oracle/official/irpe/irpe_buckets.json"));
  return file;
}

IrpeMethod method_of(const json& item) {
  const std::string name = item["method"].get<std::string>();
  return name == "euc"     ? IrpeMethod::euclidean
         : name == "quant" ? IrpeMethod::quantised
         : name == "cross" ? IrpeMethod::cross
                           : IrpeMethod::product;
}

// Bucket that each pair of tokens reads by the maps of the lowering, (N, N).
std::vector<std::int64_t> buckets_by_map(const IrpeLookup& lookup) {
  std::vector<std::int64_t> out = testing::rows_by_map(*lookup.gather);
  for (std::int64_t& row : out) row = lookup.buckets.at(static_cast<std::size_t>(row));
  return out;
}

TEST(Irpe, PiecewiseIndexOfTheOfficialCode) {
  std::size_t checked = 0;
  for (const char* list : {"piecewise_int", "piecewise_int_large"})
    for (const json& item : oracle()[list]) {
      const IrpeBins bins = IrpeBins::ratio(item["alpha"].get<double>());
      std::int64_t x = item["x_from"].get<std::int64_t>();
      for (const json& g : item["g"]) {
        EXPECT_EQ(irpe_piecewise(bins, x), g.get<std::int64_t>()) << "alpha " << bins.alpha << ", x " << x;
        EXPECT_EQ(irpe_piecewise(bins, -x), -g.get<std::int64_t>());
        ++x, ++checked;
      }
    }
  EXPECT_EQ(checked, 11u * 81 + 5 * 600);
}

TEST(Irpe, BucketTablesOfTheOfficialCode) {
  ASSERT_EQ(oracle()["tables"].size(), 15u);
  for (const json& item : oracle()["tables"]) {
    const IrpeForm form{method_of(item), IrpeMode::contextual, IrpeBins::ratio(item["ratio"].get<double>())};
    const IrpeGrid grid{item["height"].get<std::int64_t>(), item["width"].get<std::int64_t>(),
                        item["skip"].get<std::int64_t>()};
    EXPECT_EQ(irpe_buckets(form.method, form.bins, grid.skip), item["num_buckets"].get<std::int64_t>());
    const std::size_t part = item["part"] == "cols" ? 1 : 0;
    const IrpeMaps maps = irpe_maps(form, grid);
    const auto N = static_cast<std::size_t>(grid.tokens());
    ASSERT_EQ(item["table"].size(), N * N);
    const auto on_k = buckets_by_map(maps.on_k[part]), on_q = buckets_by_map(maps.on_q[part]),
               rows = buckets_by_map(maps.on_k[0]), on_v = testing::rows_by_map(*maps.on_v.gather);
    for (std::size_t x = 0; x < N * N; ++x) {
      const auto want = item["table"][x].get<std::int64_t>();
      ASSERT_EQ(on_k[x], want) << item["method"] << " " << x / N << " " << x % N;
      ASSERT_EQ(on_q[x % N * N + x / N], want) << item["method"] << " " << x / N << " " << x % N;
      if (form.method == IrpeMethod::cross && part == 1) {
        // On v the two tables are one: rows and columns of the same pair.
        ASSERT_EQ(maps.on_v.columns.at(static_cast<std::size_t>(on_v[x])), want);
        ASSERT_EQ(maps.on_v.buckets.at(static_cast<std::size_t>(on_v[x])), rows[x]);
      }
    }
  }
}

TEST(Irpe, BucketsByOffsetOfTheOfficialCode) {
  ASSERT_EQ(oracle()["by_delta_14x14"].size(), 5u);
  for (const json& item : oracle()["by_delta_14x14"]) {
    const IrpeBins bins = IrpeBins::ratio(item["ratio"].get<double>());
    for (std::int64_t x = 0; x < 27 * 27; ++x)
      ASSERT_EQ(irpe_bucket(method_of(item), bins, item["part"] == "cols" ? 1 : 0, x / 27 - 13, x % 27 - 13),
                item["by_delta"][static_cast<std::size_t>(x)].get<std::int64_t>())
          << item["method"] << " " << x;
  }
}

// Spec: matrices of a 2 x 2 grid without a class token.
TEST(Irpe, TwoByTwoByHand) {
  constexpr std::int64_t kProduct[4][4] = {
      {24, 23, 17, 16}, {25, 24, 18, 17}, {31, 30, 24, 23}, {32, 31, 25, 24}};
  constexpr std::int64_t kEuclidean[4][4] = {
      {40, 41, 41, 41}, {41, 40, 41, 41}, {41, 41, 40, 41}, {41, 41, 41, 40}};
  constexpr std::int64_t kQuantised[4][4] = {
      {40, 41, 41, 42}, {41, 40, 42, 41}, {41, 42, 40, 41}, {42, 41, 41, 40}};
  constexpr std::int64_t kRows[4][4] = {
      {40, 40, 39, 39}, {40, 40, 39, 39}, {41, 41, 40, 40}, {41, 41, 40, 40}};
  constexpr std::int64_t kColumns[4][4] = {
      {40, 39, 40, 39}, {41, 40, 41, 40}, {40, 39, 40, 39}, {41, 40, 41, 40}};
  const auto expect = [](const std::int64_t(&want)[4][4], IrpeMethod method, double ratio, std::size_t part) {
    const IrpeMaps maps = irpe_maps({method, IrpeMode::bias, IrpeBins::ratio(ratio)}, {2, 2, 0});
    const auto rows = buckets_by_map(maps.on_k[part]);
    for (std::size_t x = 0; x < 16; ++x) EXPECT_EQ(rows.at(x), want[x / 4][x % 4]);
  };
  expect(kProduct, IrpeMethod::product, 1.9, 0);
  expect(kEuclidean, IrpeMethod::euclidean, 20, 0);
  expect(kQuantised, IrpeMethod::quantised, 20, 0);
  expect(kRows, IrpeMethod::cross, 20, 0);
  expect(kColumns, IrpeMethod::cross, 20, 1);
  // With a class token, row and column 0 read the last bucket.
  const auto rows = buckets_by_map(irpe_maps({}, {2, 2, 1}).on_k[0]);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(rows.at(i), 49);
    EXPECT_EQ(rows.at(5 * i), 49);
  }
}

// Every offset of 4 x 4 has a product bucket of its own, in the order of the offsets: no map is kept.
TEST(Irpe, IdentityNeedsNoMap) {
  const IrpeLookup lookup =
      irpe_maps({IrpeMethod::product, IrpeMode::bias, {3.5, 3.5, 28}}, {4, 4, 0}).on_k[0];
  EXPECT_TRUE(lookup.gather->map.empty());
  ASSERT_EQ(lookup.buckets.size(), 49u);
  EXPECT_EQ(buckets_by_map(lookup).front(), 24);
  EXPECT_EQ(buckets_by_map(lookup).at(15), 0);
}

// Spec: on 14 x 14, quantised with ratio 33 reaches 50 of its buckets.
TEST(Irpe, OnlyBucketsInUseAreKept) {
  EXPECT_EQ(irpe_maps({IrpeMethod::quantised, IrpeMode::contextual, IrpeBins::ratio(33)}, {14, 14, 0})
                .on_k[0]
                .buckets.size(),
            50u);
  const IrpeMaps product = irpe_maps({}, {14, 14, 1});
  EXPECT_EQ(product.on_k[0].buckets.size(), 50u);
  EXPECT_EQ(product.on_k[0].gather->offsets, 2 * 27 * 27 + 1);
}

TEST(Irpe, NamesAndShapesOfCheckpoints) {
  const IrpeForm product{}, cross{IrpeMethod::cross, IrpeMode::bias, IrpeBins::ratio(20)};
  EXPECT_EQ(irpe_name(product, 'k', 0), "rpe_k.lookup_table_weight");
  EXPECT_EQ(irpe_name(cross, 'q', 0), "rpe_q.rp_rows.lookup_table_bias");
  EXPECT_EQ(irpe_name(cross, 'q', 1), "rpe_q.rp_cols.lookup_table_bias");
  EXPECT_EQ(irpe_shape(product, 'k', 1, 64, 1), (Shape{1, 64, 50}));
  EXPECT_EQ(irpe_shape(product, 'v', 3, 64, 0), (Shape{3, 49, 64}));
  EXPECT_EQ(irpe_shape(cross, 'q', 6, 64, 1), (Shape{6, 82}));
  for (const auto& [ratio, buckets] : {std::pair{2.0, 82}, {2.5, 122}, {3.0, 170}})
    EXPECT_EQ(irpe_buckets(IrpeMethod::product, IrpeBins::ratio(ratio), 1), buckets);
}

TEST(Irpe, SquareOfTheOfficialCode) {
  const auto expect = [](std::int64_t tokens, std::int64_t side, std::int64_t skip) {
    const IrpeGrid grid = irpe_square(tokens);
    EXPECT_EQ(grid.rows, side);
    EXPECT_EQ(grid.columns, side);
    EXPECT_EQ(grid.skip, skip);
  };
  expect(197, 14, 1);
  expect(16, 4, 0);
  expect(9 + 7, 4, 0);  // a 3 x 3 grid with seven tokens before it is taken for 4 x 4
}

TEST(Irpe, NeverMoreThanFourTermsAndOneValueTerm) {
  const IrpeForm form{IrpeMethod::cross, IrpeMode::contextual, IrpeBins::ratio(2)};
  const IrpeGrid grid{3, 2, 1};
  const IrpeMaps maps = irpe_maps(form, grid);
  Irpe irpe;
  for (std::size_t part = 0; part < 2; ++part) {
    irpe.on_q[part] = irpe.on_k[part] = Var(random_tensor(irpe_shape(form, 'k', 1, 3, 1), part + 1));
    irpe.on_v[part] = Var(random_tensor(irpe_shape(form, 'v', 1, 3, 1), part + 3));
  }
  AttentionOptions options;
  options.heads = 2;
  const Var x(random_tensor({1, 7, 6}, 5));
  add_irpe({}, irpe, maps, x, x, 3, options);
  EXPECT_EQ(options.terms.size(), 4u);
  EXPECT_TRUE(options.value_term.vectors.defined());
}

TEST(Irpe, RefusesWhatDoesNotFit) {
  const Var x(Tensor::zeros({1, 5, 6}));
  const auto add = [&](const Tensor& on_k, const Tensor& on_v, IrpeForm form, const Var& q) {
    AttentionOptions options;
    options.heads = 2;
    Irpe irpe;
    if (on_k.defined()) irpe.on_k[0] = Var(on_k);
    if (on_v.defined()) irpe.on_v[0] = Var(on_v);
    add_irpe({}, irpe, irpe_maps(form, {2, 2, 1}), q, q, 3, options);
  };
  const IrpeForm bias{IrpeMethod::product, IrpeMode::bias, {}};
  const Tensor k = Tensor::zeros({1, 3, 50}), v = Tensor::zeros({2, 50, 3});
  EXPECT_NO_THROW(add(k, v, {}, x));
  EXPECT_THROW(add(Tensor::zeros({1, 3, 49}), v, {}, x), Error);
  EXPECT_THROW(add(Tensor::zeros({3, 3, 50}), v, {}, x), Error);
  EXPECT_THROW(add(k, Tensor::zeros({1, 50, 4}), {}, x), Error);
  EXPECT_THROW(add(k, v, {}, Var(Tensor::zeros({1, 4, 6}))), Error);
  EXPECT_THROW(add(Tensor::zeros({1, 50}), v, bias, x), Error);
  EXPECT_THROW(add(Tensor::zeros({1, 82}), {}, {IrpeMethod::cross, IrpeMode::bias, IrpeBins::ratio(20)}, x),
               Error);  // the columns are missing
  for (const IrpeGrid& grid : {IrpeGrid{0, 2, 1}, IrpeGrid{2, -2, 1}, IrpeGrid{2, 2, -1},
                               IrpeGrid{std::int64_t{1} << 40, std::int64_t{1} << 40, 0}})
    EXPECT_THROW(irpe_maps({}, grid), Error);
  for (const IrpeBins& bins :
       {IrpeBins{0, 2, 3}, IrpeBins{2, 1, 8}, IrpeBins{2, 4, 2}, IrpeBins{2, 1e9, 1e10},
        IrpeBins{2, std::numeric_limits<double>::quiet_NaN(), 8}})
    EXPECT_THROW(irpe_maps({IrpeMethod::product, IrpeMode::bias, bins}, {2, 2, 1}), Error);
  try {
    add(Tensor::zeros({1, 3, 49}), v, {}, x);
  } catch (const Error& e) {
    for (const char* text : {"irpe", "rpe_k.lookup_table_weight", "(1, 3, 49)", "(1, 3, 50)"})
      EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
  }
}

}  // namespace irpe_test
}  // namespace locant
