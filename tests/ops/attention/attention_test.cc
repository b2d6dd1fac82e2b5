#include "core/error.h"
#include "core/pool.h"
#include "tests/ops/attention/check.h"

namespace locant {
namespace attention_test {

using testing::AttentionCall;
using testing::check;
using testing::random_tensor;
using testing::table;

TEST(Attention, Plain) {
  for (const auto& [B, N, H, D] : {std::array<std::int64_t, 4>{1, 1, 1, 1}, {2, 5, 3, 2}, {1, 17, 2, 5}}) {
    AttentionCall c{.B = B, .Nq = N, .Nk = N, .H = H, .D = D, .Dv = D, .joint = true};
    check("default scale", c);
    c.options.scale = 0.3f;
    check("own scale", c);
    c.options.scale = 0.0f;
    check("no scores", c);
  }
}

TEST(Attention, SeparateInputsOfDifferentLengthsAndWidths) {
  for (const auto& [Nq, Nk, D, Dv] : {std::array<std::int64_t, 4>{3, 5, 3, 4}, {5, 1, 1, 3}, {1, 6, 4, 1}})
    check("separate", {.B = 2, .Nq = Nq, .Nk = Nk, .H = 2, .D = D, .Dv = Dv});
}

// 5 x 4 tokens in windows of 3 x 3 that the sides do not divide, rolled by one.
TEST(Attention, ShiftedWindowsOfSwin) {
  AttentionCall c{.B = 2, .Nq = 20, .Nk = 20, .H = 2, .D = 3, .Dv = 3, .joint = true};
  c.options.rows = testing::shifted_windows(5, 4, 3, 1);
  c.options.terms = {gather_term(table({25, 2}), testing::window_map(3))};
  check("padding masked", c);
  c.options.pad_bias = table({3 * 2 * 3});
  check("padding as keys", c);
}

TEST(Attention, NothingAtAll) {
  for (const auto& [B, Nq, Nk] : {std::array<std::int64_t, 3>{0, 3, 3}, {2, 0, 3}, {2, 3, 0}, {2, 0, 0}}) {
    const AttentionCall c{.B = B, .Nq = Nq, .Nk = Nk, .H = 2, .D = 2, .Dv = 3};
    for (const testing::Way& way : testing::ways()) {
      SCOPED_TRACE(way.name);
      const testing::IsaScope scope(way.isa);
      const std::vector<Tensor> got = testing::run_call(c, c.inputs(), way.path, {true, true, true});
      EXPECT_EQ(got[0].shape(), (Shape{B, Nq, 6}));
      for (const Tensor& numbers : got)
        for (const float x : numbers.values()) EXPECT_EQ(x, 0.0f);
    }
  }
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
  Var table(random_tensor({169, 3}, 2), true);
  options.terms = {gather_term(table, testing::window_map(7))};
  const Tensor qkv = random_tensor({2, 196, 3 * 3 * 32}, 1), dy = random_tensor({2, 196, 96}, 3);
  Tensor gradients[2][2], results[2];
  for (const int fused : {0, 1}) {
    Tape tape;
    const Var x(qkv, true);
    table.clear_grad();
    const Var y =
        fused == 1 ? attention({.tape = &tape}, x, options) : attention_composed({.tape = &tape}, x, options);
    tape.backward({{y, dy}});
    results[fused] = y.value();
    gradients[fused][0] = x.grad();
    gradients[fused][1] = table.grad();
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
  const Tensor row = attention_row(qkv, 2, std::nullopt, 3);
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
  EXPECT_THROW(attention_row(qkv, 2, std::nullopt, 5), Error);
}

}  // namespace attention_test
}  // namespace locant
