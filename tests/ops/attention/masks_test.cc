#include "core/error.h"
#include "tests/ops/attention/check.h"

namespace locant {
namespace attention_masks_test {

using testing::AttentionCall;
using testing::check;
using testing::Path;
using testing::random_tensor;
using testing::table;

// Neighbourhoods of 3 x 3 (or less at the border) around each of 3 x 4 tokens, behind `first` special ones.
std::shared_ptr<const RowMaps> neighbourhoods(std::int32_t first) {
  RowMaps maps{
      .groups = 1, .queries = 12 + first, .keys = 12 + first, .box_columns = 4, .box_first_key = first};
  for (std::int32_t n = 0; n < first; ++n) maps.query_box.insert(maps.query_box.end(), {0, 3, 0, 4});
  for (std::int32_t y = 0; y < 3; ++y)
    for (std::int32_t x = 0; x < 4; ++x)
      maps.query_box.insert(maps.query_box.end(),
                            {std::max(y - 1, 0), std::min(y + 2, 3), std::max(x - 1, 0), std::min(x + 2, 4)});
  return std::make_shared<const RowMaps>(maps);
}

std::shared_ptr<const std::vector<std::uint8_t>> random_mask(const Shape& shape) {
  std::vector<std::uint8_t> mask;
  Rng rng(3);
  for (std::int64_t n = 0; n < shape.numel(); ++n) mask.push_back(rng.below(3) == 0 ? 0 : 1 + n % 200);
  return std::make_shared<const std::vector<std::uint8_t>>(mask);
}

TEST(AttentionMasks, CausalWithOffsetAndSpan) {
  for (const auto& [Nq, Nk] : {std::array<std::int64_t, 2>{5, 5}, {3, 7}, {7, 3}, {1, 4}})
    for (const std::int64_t offset : {0L, 1L, Nk - Nq, -2L, 100L, -100L})
      for (const std::int64_t span : {0L, 1L, 3L}) {
        AttentionCall c{.B = 1, .Nq = Nq, .Nk = Nk, .H = 2, .D = 2, .Dv = 3};
        c.options.visibility = {.causal = true, .causal_offset = offset, .causal_span = span};
        check("offset " + std::to_string(offset) + " span " + std::to_string(span), c);
      }
}

TEST(AttentionMasks, BoxesAroundTokens) {
  for (const std::int32_t first : {0, 2}) {
    AttentionCall c{.B = 2, .Nq = 12 + first, .Nk = 12 + first, .H = 1, .D = 2, .Dv = 2, .joint = true};
    c.options.rows = neighbourhoods(first);
    check("boxes", c);
  }
}

// Stand-alone self-attention: each query is a group of its own, keys around it, outside the grid zeros or
// masked.
TEST(AttentionMasks, NeighboursAsRowMaps) {
  RowMaps maps{.groups = 12, .queries = 1, .keys = 9};
  for (std::int32_t n = 0; n < 12; ++n)
    for (std::int32_t k = 0; k < 9; ++k) {
      const std::int32_t y = n / 4 + k / 3 - 1, x = n % 4 + k % 3 - 1;
      maps.key_rows.push_back(y >= 0 && y < 3 && x >= 0 && x < 4 ? y * 4 + x : -1);
    }
  for (const bool zeros : {false, true}) {
    AttentionCall c{.B = 1, .Nq = 12, .Nk = 12, .H = 2, .D = 2, .Dv = 3};
    c.options.rows = std::make_shared<const RowMaps>(maps);
    c.options.zero_pad = zeros;
    c.options.terms = {axis_term(table({1, 12, 2, 3}), table({1, 12, 2, 3}))};
    check(zeros ? "zeros" : "masked", c);
  }
}

TEST(AttentionMasks, DenseOfEveryShape) {
  for (const Shape& shape :
       {Shape{4, 5}, {2, 4, 5}, {1, 2, 4, 5}, {3, 1, 2, 4, 5}, {3, 1, 1, 4, 5}, {3, 1, 1, 1, 5}}) {
    AttentionCall c{.B = 3, .Nq = 4, .Nk = 5, .H = 2, .D = 2, .Dv = 3};
    c.options.visibility.dense = random_mask(shape);
    c.options.visibility.dense_shape = shape;
    check(shape.str(), c);
  }
  AttentionCall windows{.B = 1, .Nq = 6, .Nk = 6, .H = 2, .D = 2, .Dv = 2, .joint = true};
  windows.options.rows = testing::shifted_windows(3, 2, 2, 1);
  windows.options.visibility.dense_shape = {2, 2, 4, 4};
  windows.options.visibility.dense = random_mask({2, 2, 4, 4});
  check("windows", windows);
}

TEST(AttentionMasks, LengthsHideKeysAndAllOfThem) {
  AttentionCall c{.B = 3, .Nq = 6, .Nk = 6, .H = 2, .D = 3, .Dv = 3, .joint = true};
  c.options.key_lengths = {6, 2, 0};
  check("lengths", c);
}

TEST(AttentionMasks, AllAtOnceWithTerms) {
  AttentionCall c{.B = 2, .Nq = 14, .Nk = 14, .H = 2, .D = 2, .Dv = 2, .joint = true, .rng_seed = 4};
  c.options.rows = neighbourhoods(2);
  c.options.key_lengths = {14, 9};
  c.options.visibility = {.causal = true, .causal_offset = 3, .causal_span = 8};
  c.options.visibility.dense_shape = {2, 14, 14};
  c.options.visibility.dense = random_mask({2, 14, 14});
  c.options.dropout = 0.2f;
  for (const std::size_t kind : {3U, 6U, 9U, 10U}) testing::term_kinds()[kind].add(c);
  check("all", c);
}

// Rows that see nothing: zeros out, and no gradient leaves them, whatever the terms say.
TEST(AttentionMasks, RowsThatSeeNothingAreZero) {
  for (const testing::TermKind& kind : testing::term_kinds()) {
    SCOPED_TRACE(kind.name);
    AttentionCall c{.B = 2, .Nq = 4, .Nk = 5, .H = 2, .D = 2, .Dv = 2};
    c.options.visibility.dense = std::make_shared<const std::vector<std::uint8_t>>(20, std::uint8_t{0});
    c.options.visibility.dense_shape = {4, 5};
    kind.add(c);
    const std::vector<Tensor> inputs = c.inputs(1e3f);
    for (const testing::Way& way : testing::ways()) {
      SCOPED_TRACE(way.name);
      const testing::IsaScope scope(way.isa);
      for (const Tensor& got : testing::run_call(c, inputs, way.path, std::vector<bool>(inputs.size(), true)))
        for (const float x : got.values()) ASSERT_EQ(x, 0.0f);
    }
  }
}

TEST(AttentionDropout, AgreesWithTheFormulaForManyRates) {
  for (const float p : {0.1f, 0.5f, 0.9f}) {
    AttentionCall c{.B = 2, .Nq = 5, .Nk = 6, .H = 2, .D = 2, .Dv = 3, .rng_seed = 11};
    c.options.dropout = p;
    check(std::to_string(p), c);
    AttentionCall windows{.B = 2, .Nq = 6, .Nk = 6, .H = 2, .D = 2, .Dv = 2, .joint = true, .rng_seed = 8};
    windows.options.rows = testing::shifted_windows(3, 2, 2, 1);
    windows.options.dropout = p;
    check("windows", windows);
  }
}

Tensor dropped(const Tensor& qkv, float p, bool train, Rng* rng, Path path) {
  AttentionOptions o{.heads = 2, .dropout = p};
  const Context ctx{.train = train, .rng = rng};
  return (path == Path::fused ? attention(ctx, Var(qkv), o) : attention_composed(ctx, Var(qkv), o)).value();
}

TEST(AttentionDropout, SeedsDecideAndOneIsDrawnACall) {
  const Tensor qkv = random_tensor({2, 5, 3 * 4}, 1);
  const auto equal = [](const Tensor& a, const Tensor& b) {
    return std::equal(a.values().begin(), a.values().end(), b.values().begin());
  };
  for (const Path path : {Path::composed, Path::fused}) {
    Rng one(5), same(5), none(5);
    const Tensor first = dropped(qkv, 0.4f, true, &one, path), second = dropped(qkv, 0.4f, true, &one, path);
    EXPECT_EQ(one.counter(), 2U);
    EXPECT_FALSE(equal(first, second));
    EXPECT_TRUE(equal(first, dropped(qkv, 0.4f, true, &same, path)));
    const Tensor plain = dropped(qkv, 0.0f, false, nullptr, path);
    EXPECT_FALSE(equal(first, plain));
    EXPECT_TRUE(equal(plain, dropped(qkv, 0.4f, false, nullptr, path)));
    EXPECT_TRUE(equal(plain, dropped(qkv, 0.0f, true, &none, path)));
    EXPECT_EQ(none.counter(), 0U);
    EXPECT_THROW(dropped(qkv, 0.4f, true, nullptr, path), Error);
  }
}

TEST(AttentionDropout, MeanOfManyDrawsIsNoDropout) {
  const Tensor qkv = random_tensor({1, 6, 3 * 4}, 2);
  for (const Path path : {Path::composed, Path::fused}) {
    Rng rng(1);
    const Tensor plain = dropped(qkv, 0.0f, false, nullptr, path);
    constexpr int kDraws = 4000;
    std::vector<double> sum(static_cast<std::size_t>(plain.numel()));
    for (int n = 0; n < kDraws; ++n) {
      const Tensor one = dropped(qkv, 0.3f, true, &rng, path);
      for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] += double{one[static_cast<std::int64_t>(i)]} / kDraws;
    }
    // Deviation of one draw below sqrt(p / (1 - p)) max |v| sqrt(sum P^2) < 0.66; five of the mean's.
    for (std::size_t i = 0; i < sum.size(); ++i)
      EXPECT_NEAR(sum[i], double{plain[static_cast<std::int64_t>(i)]}, 5 * 0.66 / std::sqrt(kDraws));
  }
}

}  // namespace attention_masks_test
}  // namespace locant
