#include <limits>

#include "core/error.h"
#include "tests/ops/attention/check.h"

namespace locant {
namespace attention_errors_test {

using testing::diagonal_map;
using testing::mapped_diagonal;
using testing::table;

struct Bad {
  AttentionOptions options;
  std::vector<std::string> says;  ///< parts of the message
};

std::shared_ptr<const RowMaps> rows(RowMaps maps) { return std::make_shared<const RowMaps>(std::move(maps)); }
testing::Gather gather(OffsetMap map) { return std::make_shared<const OffsetMap>(std::move(map)); }

template <class F>
void expect_error(const F& call, const std::vector<std::string>& says) {
  try {
    call();
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    const std::string what = error.what();
    EXPECT_EQ(what.rfind("[attention] ", 0), 0U) << what;
    for (const std::string& part : says)
      EXPECT_NE(what.find(part), std::string::npos) << what << "\n" << part;
  }
}

// On qkv (2, 4, 18) with two heads of width 3: B 2, N 4.
void expect_bad(const std::vector<Bad>& table) {
  const Var qkv(Tensor::zeros({2, 4, 18}));
  for (const Bad& bad : table) {
    SCOPED_TRACE(&bad - table.data());
    expect_error([&] { attention({}, qkv, bad.options); }, bad.says);
    expect_error([&] { attention_composed({}, qkv, bad.options); }, bad.says);
  }
}

std::vector<Bad> with_terms(const std::vector<std::pair<AttentionTerm, std::vector<std::string>>>& terms) {
  std::vector<Bad> out;
  for (const auto& [term, says] : terms) {
    out.push_back({{.heads = 2, .terms = {dense_term(table({4, 4})), term}}, says});
    out.back().says.push_back("term 1");
  }
  return out;
}

AttentionTerm scaled(const Shape& shape) {
  AttentionTerm term = dense_term(table({4, 4}));
  term.head_scale = table(shape);
  return term;
}

TEST(AttentionErrors, Sizes) {
  expect_bad({
      {{.heads = 0}, {"(2, 4, 18)", "0 heads"}},
      {{.heads = 4}, {"(2, 4, 18)", "4 heads"}},
      {{.heads = std::numeric_limits<std::int64_t>::max()}, {"(2, 4, 18)"}},
      {{.heads = 2, .key_lengths = {4}}, {"1 key lengths", "batch of 2"}},
      {{.heads = 2, .key_lengths = {4, 5}}, {"5", "0 to 4"}},
      {{.heads = 2, .key_lengths = {-1, 4}}, {"-1", "0 to 4"}},
      {{.heads = 2, .terms = std::vector<AttentionTerm>(5, dense_term(table({4, 4})))}, {"5 terms", "four"}},
      {{.heads = 2, .pad_bias = table({17})}, {"(17)", "width 3"}},
      {{.heads = 2, .pad_bias = table({18}), .zero_pad = true}, {"pad_bias", "zero_pad"}},
      {{.heads = 2, .dropout = -0.1f}, {"-0.1", "[0, 1)"}},
      {{.heads = 2, .dropout = 1.0f}, {"[0, 1)"}},
      {{.heads = 2, .dropout = std::numeric_limits<float>::quiet_NaN()}, {"nan"}},
  });
  const auto three = [](const Shape& q, const Shape& k, const Shape& v, const AttentionOptions& o) {
    return [=] { attention({}, table(q), table(k), table(v), o); };
  };
  expect_error(three({2, 3, 6}, {2, 5, 6}, {2, 4, 6}, {.heads = 2}), {"(2, 5, 6)", "(2, 4, 6)"});
  expect_error(three({2, 3, 6}, {2, 5, 8}, {2, 5, 6}, {.heads = 2}), {"(2, 3, 6)", "(2, 5, 8)"});
  expect_error(three({2, 3, 6}, {1, 5, 6}, {1, 5, 6}, {.heads = 2}), {"(2, 3, 6)", "(1, 5, 6)"});
  expect_error(three({2, 3, 514}, {2, 5, 514}, {2, 5, 6}, {.heads = 2}), {"257", "256"});
  expect_error(three({2, 3, 6}, {2, 5, 6}, {2, 5, 8}, {.heads = 2, .pad_bias = table({18})}), {"(18)"});
  expect_error([] { attention({}, table({2, 18}), {.heads = 2}); }, {"(2, 18)"});
}

TEST(AttentionErrors, RowMaps) {
  const auto maps = [](std::vector<std::int32_t> queries, std::vector<std::int32_t> keys = {}) {
    return rows({.groups = 1,
                 .queries = 4,
                 .keys = 4,
                 .query_rows = std::move(queries),
                 .key_rows = std::move(keys)});
  };
  const auto boxes = [](std::size_t count, std::int64_t columns, std::int64_t first) {
    return rows({.groups = 1,
                 .queries = 4,
                 .keys = 4,
                 .query_box = std::vector<std::int32_t>(count),
                 .box_columns = columns,
                 .box_first_key = first});
  };
  expect_bad({
      {{.heads = 2, .rows = rows({.groups = 2, .queries = 2, .keys = 4})}, {"8 key slots", "4 tokens"}},
      {{.heads = 2, .rows = rows({.groups = 0, .queries = 4, .keys = 4})}, {"0 groups"}},
      {{.heads = 2, .rows = rows({.groups = 1, .queries = -4, .keys = 4})}, {"-4 queries"}},
      {{.heads = 2,
        .rows = rows({.groups = std::int64_t{1} << 40, .queries = std::int64_t{1} << 40, .keys = 4})},
       {"groups"}},
      {{.heads = 2, .rows = maps({0, 1, 2})}, {"3 rows for 4"}},
      {{.heads = 2, .rows = maps({0, 1, 2, 4})}, {"row 4 of 4"}},
      {{.heads = 2, .rows = maps({0, 1, 2, 2})}, {"row 2 twice"}},
      {{.heads = 2, .rows = maps({}, {0, 1, 2, 7})}, {"key map", "row 7 of 4"}},
      {{.heads = 2, .rows = rows({.groups = 1, .queries = 4, .keys = 4, .query_region = {0, 0, 0, 0}})},
       {"regions"}},
      {{.heads = 2,
        .rows =
            rows({.groups = 1, .queries = 4, .keys = 4, .query_region = {0, 0}, .key_region = {0, 0, 0, 0}})},
       {"2 query regions for 4"}},
      {{.heads = 2, .rows = boxes(12, 2, 0)}, {"12 numbers", "16"}},
      {{.heads = 2, .rows = boxes(16, 0, 0)}, {"0 columns"}},
      {{.heads = 2, .rows = boxes(16, 2, -1)}, {"slot -1 of 4"}},
      {{.heads = 2, .rows = boxes(16, 2, 5)}, {"slot 5 of 4"}},
  });
}

TEST(AttentionErrors, Masks) {
  const auto dense = [](const Shape& shape, std::size_t bytes) {
    AttentionOptions o{.heads = 2};
    o.visibility.dense = std::make_shared<const std::vector<std::uint8_t>>(bytes);
    o.visibility.dense_shape = shape;
    return o;
  };
  const auto causal = [](bool on, std::int64_t offset, std::int64_t span) {
    return AttentionOptions{.heads = 2,
                            .visibility = {.causal = on, .causal_offset = offset, .causal_span = span}};
  };
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  expect_bad({
      {dense({4, 5}, 20), {"mask", "(4, 5)", "(2, 1, 2, 4, 4)"}},
      {dense({3, 4, 4}, 48), {"mask", "(3, 4, 4)", "(2, 1, 2, 4, 4)"}},
      {dense({2, 4, 4}, 31), {"31 bytes", "(2, 4, 4)"}},
      {dense({0}, 0), {"mask", "(0)"}},
      {causal(true, 0, -1), {"span of -1"}},
      {causal(true, kHuge, 0), {"offset"}},
      {causal(true, -kHuge, 0), {"offset"}},
      {causal(false, 0, 3), {"causal = true"}},
      {causal(false, 1, 0), {"causal = true"}},
  });
}

TEST(AttentionErrors, Terms) {
  const auto map = diagonal_map(4, 4);  // 7 offsets
  OffsetMap short_map = *mapped_diagonal(4, 4, 3);
  short_map.map.pop_back();
  OffsetMap no_offsets = *map;
  no_offsets.offsets = 0;
  expect_bad(with_terms({
      {dense_term(table({4, 5})), {"dense", "(4, 5)", "(2, 1, 2, 4, 4)"}},
      {dense_term(table({3, 4, 4})), {"(3, 4, 4)", "(2, 1, 2, 4, 4)"}},
      {dense_term(table({2, 4})), {"(2, 4)", "(2, 1, 2, 4, 4)"}},
      {dense_term(table({4})), {"(4)"}},
      {dense_term(Var()), {"no table"}},
      {gather_term(table({7, 3}), map), {"gather", "(7, 3)", "2 heads"}},
      {gather_term(table({6, 2}), map), {"row 6", "(6, 2)"}},
      {gather_term(table({0, 2}), map), {"(0, 2)"}},
      {gather_term(table({9, 2}), diagonal_map(4, 5)), {"4 query and 5 key", "4 and 4"}},
      {gather_term(table({7, 2}), nullptr), {"OffsetMap", "(7, 2)"}},
      {gather_term(Var(), map), {"no table"}},
      {gather_term(table({7, 2}), gather({{0, 1, 2, 9}, {0, 1, 2, 3}, 3, {}, 7})), {"0 to 12", "[0, 7)"}},
      {gather_term(table({7, 2}), gather({{0, 1, 2, 3}, {0, 1, 2, 3}, 2, {}, 7})), {"-1 to 5", "[0, 7)"}},
      {gather_term(table({3, 2}), gather(short_map)), {"6 entries for 7"}},
      {gather_term(table({2, 2}), mapped_diagonal(4, 4, 3)), {"row 2", "(2, 2)"}},
      {gather_term(table({7, 2}), gather(no_offsets)), {"0 offsets"}},
      {bucket_term(Side::query, table({2, 5, 2, 7}), map), {"bucket", "(2, 5, 2, 7)", "(2, 4, 2, rows)"}},
      {bucket_term(Side::key, table({1, 4, 2, 7}), map), {"key side", "(1, 4, 2, 7)", "(2, 4, 2, rows)"}},
      {bucket_term(Side::query, table({2, 4, 2, 6}), map), {"row 6", "(2, 4, 2, 6)"}},
      {bucket_term(Side::query, table({4, 2, 7}), map), {"(4, 2, 7)"}},
      {band_term(Side::query, table({7, 4}), map), {"band", "(7, 4)", "(rows, 3)"}},
      {band_term(Side::key, table({3, 7, 3}), map), {"(3, 7, 3)", "(2 heads, rows, 3)"}},
      {band_term(Side::key, table({2, 6, 3}), map), {"row 6", "(2, 6, 3)"}},
      {band_term(Side::query, table({7}), map), {"(7)"}},
      {axis_term(table({2, 4, 2, 2}), table({2, 4, 2, 3})), {"axis", "1 x 2 x 3", "4 key slots"}},
      {axis_term(table({2, 4, 2, 2}), table({2, 3, 2, 2})), {"columns", "(2, 3, 2, 2)", "(2, 4, 2,"}},
      {axis_term(table({2, 4, 2, 2}), table({2, 4, 2, 2}), 1), {"slot 1", "4 key slots"}},
      {axis_term(table({2, 4, 2, 2}), table({2, 4, 2, 2}), -1), {"slot -1"}},
      {axis_term(table({2, 4, 2, 0}), table({2, 4, 2, 2})), {"rows", "(2, 4, 2, 0)"}},
      {axis_term(Var(), Var()), {"no table"}},
      {scaled({3}), {"head_scale", "(3)", "2 heads"}},
      {scaled({2, 1}), {"head_scale", "(2, 1)"}},
  }));
}

TEST(AttentionErrors, FactorAndValueTerm) {
  const auto map = diagonal_map(4, 4);
  const auto factor = [](const AttentionTerm& term) { return AttentionOptions{.heads = 2, .factor = term}; };
  AttentionTerm with_scale = gather_term(table({7, 2}), map);
  with_scale.head_scale = table({2});
  const auto value = [&](const Shape& shape, const testing::Gather& g) {
    return AttentionOptions{.heads = 2, .value_term = {table(shape), g}};
  };
  expect_bad({
      {factor(gather_term(table({6, 2}), map)), {"factor", "row 6", "(6, 2)"}},
      {factor(gather_term(table({7, 1}), map)), {"factor", "(7, 1)", "2 heads"}},
      {factor(dense_term(table({4, 4}))), {"factor", "gather", "dense"}},
      {factor(with_scale), {"factor", "head_scale"}},
      {value({7, 4}, map), {"value term", "(7, 4)", "(rows, 3)"}},
      {value({1, 7, 3}, map), {"value term", "(1, 7, 3)", "2 heads"}},
      {value({2, 5, 3}, map), {"value term", "row 6", "(2, 5, 3)"}},
      {value({7, 3}, nullptr), {"value term", "OffsetMap"}},
      {value({7, 3}, diagonal_map(3, 4)), {"value term", "3 query and 4 key", "4 and 4"}},
  });
}

// Maps remember that they were found right: for what they were right, and no longer than they are the same.
TEST(AttentionErrors, MapsThatWereRightForAnotherCall) {
  const auto map = diagonal_map(4, 4);  // 7 offsets
  const Var qkv(Tensor::zeros({2, 4, 18})), shorter(Tensor::zeros({2, 3, 18}));
  const auto with = [&](const testing::Gather& m, std::int64_t rows) {
    return AttentionOptions{.heads = 2, .terms = {gather_term(table({rows, 2}), m)}};
  };
  const AttentionOptions on_rows{
      .heads = 2,
      .rows =
          rows({.groups = 1, .queries = 4, .keys = 4, .query_rows = {3, 2, 1, 0}, .key_rows = {3, 2, 1, 0}})};
  for (const bool fused : {true, false}) {
    const auto run = [&](const Var& x, const AttentionOptions& o) {
      return fused ? attention({}, x, o) : attention_composed({}, x, o);
    };
    EXPECT_NO_THROW(run(qkv, with(map, 7)));
    EXPECT_NO_THROW(run(qkv, with(map, 9)));
    expect_error([&] { run(qkv, with(map, 6)); }, {"row 6", "(6, 2)"});
    OffsetMap moved = *map;
    moved.origin = 4;
    expect_error([&] { run(qkv, with(gather(moved), 7)); }, {"1 to 7", "[0, 7)"});
    EXPECT_NO_THROW(run(qkv, on_rows));
    expect_error([&] { run(shorter, on_rows); }, {"row 3 of 3"});
    EXPECT_NO_THROW(run(qkv, on_rows));
  }
}

}  // namespace attention_errors_test
}  // namespace locant
