#include "position/transformer_xl.h"

#include "core/error.h"
#include "tests/position/sine_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace transformer_xl_test {

using testing::mapped;
using testing::random_tensor;

TEST(TransformerXl, RowsByHand) {
  // Two queries after two keys: distances 2 1 0 (-1) / 3 2 1 0 and rows a1 a2 a3 . / b0 b1 b2 b3.
  constexpr int kMemory[2][4] = {{1, 2, 3, -1}, {0, 1, 2, 3}};
  const auto memory = transformer_xl_gather(4, 2, 2);
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_EQ(mapped(*memory, i, j), kMemory[i][j]);
  constexpr int kPlain[3][3] = {{2, -1, -1}, {1, 2, -1}, {0, 1, 2}};
  const auto plain = transformer_xl_gather(3, 3, 0);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) EXPECT_EQ(mapped(*plain, i, j), kPlain[i][j]);
}

// The original pads a column of zeros in front, reads the same memory as (klen + 1, q), drops a row, and
// reads it as (q, klen) again. Where a query may look, that is the row this file names.
TEST(TransformerXl, RowsAreThoseOfTheOriginalShift) {
  for (std::int64_t q = 1; q <= 6; ++q)
    for (std::int64_t klen = q; klen <= 11; ++klen) {
      std::vector<std::int64_t> padded;
      for (std::int64_t i = 0; i < q; ++i) {
        padded.push_back(-1);
        for (std::int64_t t = 0; t < klen; ++t) padded.push_back(i * klen + t);
      }
      const auto gather = transformer_xl_gather(klen, q, klen - q);
      for (std::int64_t i = 0; i < q; ++i)
        for (std::int64_t j = 0; j <= klen - q + i; ++j)
          EXPECT_EQ(i * klen + mapped(*gather, i, j), padded.at(static_cast<std::size_t>(q + i * klen + j)));
    }
}

TEST(TransformerXl, ShortLearnedTablesRepeatTheirFirstRow) {
  const auto gather = transformer_xl_gather(3, 2, 4);
  constexpr int kWant[2][6] = {{0, 0, 0, 1, 2, -1}, {0, 0, 0, 0, 1, 2}};
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 6; ++j) EXPECT_EQ(mapped(*gather, i, j), kWant[i][j]) << i << ", " << j;
}

TEST(TransformerXl, SinusoidsDescendSinesFirst) {
  const Tensor table = transformer_xl_sinusoids(3, 4);
  constexpr float kWant[12] = {0.909297427f,
                               0.0199986667f,
                               -0.416146837f,
                               0.999800007f,
                               0.841470985f,
                               0.00999983333f,
                               0.540302306f,
                               0.99995f,
                               0,
                               0,
                               1,
                               1};
  for (int x = 0; x < 12; ++x) EXPECT_NEAR(table[x], kWant[x], 1e-7f) << x;
  const Tensor clamped = transformer_xl_sinusoids(6, 4, 2);
  for (int t = 0; t < 4; ++t)
    for (int c = 0; c < 4; ++c) EXPECT_EQ(clamped[t * 4 + c], table[c]);
  EXPECT_EQ(clamped[4 * 4], table[4]);
  EXPECT_THROW(transformer_xl_sinusoids(3, 5), Error);
  EXPECT_THROW(transformer_xl_sinusoids(0, 4), Error);
  EXPECT_THROW(transformer_xl_sinusoids(3, 4, -1), Error);
}

// Spec: keys j <= i - shift are forbidden too, shift = qlen - (klen - mem_len) if klen > mem_len, else qlen.
TEST(TransformerXl, SameLengthSeesWhatTheOriginalMaskLeaves) {
  for (std::int64_t q = 1; q <= 5; ++q)
    for (std::int64_t past = 0; past <= 6; ++past)
      for (std::int64_t mem_len = 1; mem_len <= 8; ++mem_len) {
        const std::int64_t klen = q + past;
        const AttentionVisibility seen = transformer_xl_visibility(q, past, true, mem_len);
        const std::int64_t shift = klen > mem_len ? q - (klen - mem_len) : q;
        for (std::int64_t i = 0; i < q; ++i)
          for (std::int64_t j = 0; j < klen; ++j) {
            const std::int64_t last = i + seen.causal_offset;
            const bool ours = j <= last && (seen.causal_span == 0 || j > last - seen.causal_span);
            EXPECT_EQ(ours, j <= i + past && j > i - shift) << q << " " << past << " " << mem_len;
          }
      }
  EXPECT_EQ(transformer_xl_visibility(4, 6, false, 0).causal_span, 0);
  EXPECT_THROW(transformer_xl_visibility(4, 0, true, 0), Error);
}

// Spec: each query's dS sums to zero and every distance has one key, so the rows' gradients do as well.
TEST(TransformerXl, GradientsOfTheRowsSumToZero) {
  constexpr std::int64_t kH = 2, kD = 3, kNq = 5, kPast = 4, kR = kNq + kPast;
  Tape tape;
  const Context ctx{.tape = &tape};
  const Var q(random_tensor({2, kNq, kH * kD}, 1), true), k(random_tensor({2, kR, kH * kD}, 2), true),
      v(random_tensor({2, kR, kH * kD}, 3), true);
  const TransformerXl xl{.u = Var(random_tensor({kH, kD}, 4), true),
                         .v = Var(random_tensor({kH, kD}, 5), true),
                         .rows = Var(random_tensor({kR, kH, kD}, 6), true)};
  AttentionOptions options;
  options.heads = kH;
  options.visibility = transformer_xl_visibility(kNq, kPast);
  const Var query = add_transformer_xl(ctx, xl, q, transformer_xl_gather(kR, kNq, kPast), options);
  tape.backward({{attention_composed(ctx, query, k, v, options), random_tensor(q.shape(), 7)}});
  for (std::int64_t hd = 0; hd < kH * kD; ++hd) {
    float sum = 0, most = 0;
    for (std::int64_t t = 0; t < kR; ++t) {
      sum += xl.rows.grad()[t * kH * kD + hd];
      most = std::max(most, std::abs(xl.rows.grad()[t * kH * kD + hd]));
    }
    EXPECT_NEAR(sum, 0.0f, 1e-5f);
    EXPECT_GT(most, 1e-3f);
  }
}

TEST(TransformerXl, RefusesWhatDoesNotFit) {
  const Var q(Tensor::zeros({1, 4, 6})), heads(Tensor::zeros({2, 3})), rows(Tensor::zeros({4, 2, 3}));
  const auto gather = transformer_xl_gather(4, 4, 0);
  const auto add = [&](const TransformerXl& xl) {
    AttentionOptions options;
    options.heads = 2;
    add_transformer_xl({}, xl, q, gather, options);
  };
  EXPECT_NO_THROW(add({heads, heads, rows, {}}));
  EXPECT_THROW(add({heads, {}, rows, {}}), Error);
  EXPECT_THROW(add({heads, heads, rows, Var(Tensor::zeros({4, 2}))}), Error);
  EXPECT_THROW(add({Var(Tensor::zeros({3, 2})), heads, rows, {}}), Error);
  EXPECT_THROW(add({heads, heads, Var(Tensor::zeros({4, 6})), {}}), Error);
  EXPECT_THROW(add({heads, {}, rows, Var(Tensor::zeros({4, 3}))}), Error);
  EXPECT_THROW(transformer_xl_gather(0, 4, 0), Error);
  EXPECT_THROW(transformer_xl_gather(4, 4, -1), Error);
}

}  // namespace transformer_xl_test
}  // namespace locant
