#include "kernels/attention.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/kernels/attention_terms.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace attention_test {

std::string sizes(const AttentionCase& c) {
  return fmt::format("B{} G{} H{} Nq{} Nk{} D{} Dv{}", c.B, c.G, c.H, c.Nq, c.Nk, c.D, c.Dv);
}

// Around the edges of register tiles (6 rows; 8, 16 or 64 keys), of query blocks (96) and of key blocks (512;
// 128).
TEST(Attention, EveryLength) {
  for (const std::int64_t Nq : {1, 2, 5, 6, 7, 13, 95, 97})
    for (const std::int64_t Nk : {1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 129}) {
      const AttentionCase c{.Nq = Nq, .Nk = Nk, .D = 12, .Dv = 20, .cancels = Nk == 1};
      check_attention(c, sizes(c));
    }
}

TEST(Attention, SeveralKeyBlocks) {
  for (const std::int64_t Nk : {511, 512, 513, 1100}) {
    const AttentionCase c{.H = 2, .Nq = 100, .Nk = Nk, .D = 16, .Dv = 16, .spread = 2.0f};
    check_attention(c, sizes(c));
  }
}

TEST(Attention, EveryWidth) {
  for (const std::int64_t D : {1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 128, 255, 256}) {
    AttentionCase c{.H = 2, .Nq = 11, .Nk = 19, .D = D, .Dv = D};
    check_attention(c, sizes(c));
    c.Dv = 257 - D;
    check_attention(c, sizes(c));
  }
}

TEST(Attention, JointProjection) {
  for (const std::int64_t D : {7, 32}) {
    const AttentionCase c{.B = 2, .H = 3, .Nq = 50, .Nk = 50, .D = D, .Dv = D, .joint = true};
    check_attention(c, sizes(c));
  }
}

TEST(Attention, RowsWithGaps) {
  const AttentionCase c{.B = 2, .G = 3, .H = 3, .Nq = 17, .Nk = 21, .D = 9, .Dv = 18, .gap = 5};
  check_attention(c, sizes(c));
}

TEST(Attention, ScaleMayBeZeroOrNegative) {
  const AttentionCase c{.Nq = 9, .Nk = 30, .scale = -0.7f};
  check_attention(c, "negative scale");
  check_attention({.Nq = 9, .Nk = 30, .scale = 1e-30f}, "tiny scale");
}

// Scores of some hundreds: most probabilities vanish, none overflows.
TEST(Attention, LargeScores) {
  check_attention({.H = 2, .Nq = 40, .Nk = 600, .D = 32, .Dv = 32, .scale = 1.0f, .spread = 6.0f},
                  "large scores");
}

TEST(Attention, ScoresGrowFromBlockToBlock) {
  const KeepSettings keep;
  // Key j = j, so the running maximum of every row with a positive query moves in each block.
  constexpr std::int64_t kKeys = 1500;
  std::vector<float> q = {0.1f, -0.1f, 2.0f}, k(kKeys), v(kKeys), out(3), lse(3);
  for (std::size_t j = 0; j < kKeys; ++j) k[j] = static_cast<float>(j), v[j] = static_cast<float>(j % 7);
  AttentionArgs a{.B = 1, .H = 1, .Nq = 3, .Nk = kKeys, .D = 1, .Dv = 1};
  a.q = {q.data(), 0, 1, 0};
  a.k = {k.data(), 0, 1, 0};
  a.v = {v.data(), 0, 1, 0};
  a.out = {out.data(), 0, 1, 0};
  a.lse = lse.data();
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    attention_forward(a);
    for (std::size_t i = 0; i < 3; ++i) {
      double sum = 0, mean = 0;
      const double top = std::max(0.0, double{q[i]} * (kKeys - 1));
      for (std::size_t j = 0; j < kKeys; ++j) {
        const double p = std::exp(double{q[i]} * static_cast<double>(j) - top);
        sum += p;
        mean += p * double{v[j]};
      }
      EXPECT_NEAR(out[i], mean / sum, 1e-4 * mean / sum) << isa_name(isa) << " row " << i;
      EXPECT_NEAR(lse[i], top + std::log(sum), 1e-6 * (1 + top)) << isa_name(isa) << " row " << i;
    }
  }
}

TEST(Attention, EqualScoresGiveTheMean) {
  const KeepSettings keep;
  std::vector<float> q(4, 0.0f), k(4 * 10, 1.0f), v(10), out(1), lse(1);
  for (std::size_t j = 0; j < 10; ++j) v[j] = static_cast<float>(j);
  AttentionArgs a{.B = 1, .H = 1, .Nq = 1, .Nk = 10, .D = 4, .Dv = 1};
  a.q = {q.data(), 0, 4, 0};
  a.k = {k.data(), 0, 4, 0};
  a.v = {v.data(), 0, 1, 0};
  a.out = {out.data(), 0, 1, 0};
  a.lse = lse.data();
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    attention_forward(a);
    EXPECT_FLOAT_EQ(out[0], 4.5f) << isa_name(isa);
    EXPECT_FLOAT_EQ(lse[0], std::log(10.0f)) << isa_name(isa);
  }
}

TEST(Attention, NotANumberIsNotHidden) {
  const KeepSettings keep;
  const AttentionRun run({.Nq = 3, .Nk = 40, .D = 4, .Dv = 4});
  AttentionArgs a = run.args();
  std::vector<float> k(a.k.data, a.k.data + 40 * 4), out(40 * 4);
  k[4 * 20] = std::nanf("");
  a.k.data = k.data();
  a.out.data = out.data();
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    attention_forward(a);
    EXPECT_TRUE(std::isnan(out[0])) << isa_name(isa);
  }
}

TEST(Attention, NothingToDoIsNoError) {
  attention_forward({.B = 0, .H = 3, .Nq = 4, .Nk = 4, .D = 8, .Dv = 8});
  attention_forward({.B = 1, .H = 0, .Nq = 4, .Nk = 4, .D = 8, .Dv = 8});
  check_attention({.Nq = 5, .Nk = 0, .rows = 5}, "no keys");
  check_attention({.Nq = 0, .Nk = 5, .rows = 5}, "no queries");
  for (const auto& [Nq, Nk] : {std::pair{5, 0}, {0, 5}})
    check_attention({.Nq = Nq, .Nk = Nk, .rows = 5, .terms = {factor_of(line_codes(Nq, Nk, 1), 1)}},
                    "a term");
}

class AttentionErrors : public ::testing::Test {
 protected:
  AttentionErrors() : run_({.H = 2, .Nq = 4, .Nk = 4, .terms = {window_term(2, 2)}}), out_(256) {
    good_ = run_.args();
    good_.out.data = out_.data();
    terms_.assign(good_.terms.begin(), good_.terms.end());
  }
  void expect_error(const AttentionArgs& a, const std::string& part) {
    try {
      attention_forward(a);
      ADD_FAILURE() << "no error about " << part;
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.rfind("[attention] ", 0), 0u) << text;
      EXPECT_NE(text.find(part), std::string::npos) << text;
    }
  }
  AttentionRun run_;
  std::vector<float> out_;
  std::vector<ScoreTerm> terms_;
  AttentionArgs good_;
};

TEST_F(AttentionErrors, Sizes) {
  attention_forward(good_);
  for (const std::int64_t D : {std::int64_t{0}, std::int64_t{257}, std::int64_t{-3}}) {
    AttentionArgs a = good_;
    a.D = D;
    expect_error(a, std::to_string(D));
    a = good_;
    a.Dv = D;
    expect_error(a, std::to_string(D));
  }
  AttentionArgs a = good_;
  a.Nk = -1;
  expect_error(a, "-1");
  a = good_;
  a.Nq = std::int64_t{1} << 40;
  expect_error(a, "1099511627776");
}

TEST_F(AttentionErrors, Buffers) {
  AttentionArgs a = good_;
  a.out.data = nullptr;
  expect_error(a, "out");
  a = good_;
  a.v.data = nullptr;
  expect_error(a, "v is missing");
  a = good_;
  a.key_pad = out_.data();
  expect_error(a, "value_pad");
  const std::vector<std::int32_t> region(4);
  a = good_;
  a.mask.key_region = region.data();
  expect_error(a, "query_region");
}

TEST_F(AttentionErrors, Terms) {
  AttentionArgs a = good_;
  const std::vector<ScoreTerm> five(5, terms_[0]);
  a.terms = five;
  expect_error(a, "5");
  auto& gather = std::get<GatherTerm>(terms_[0].term);
  a.terms = terms_;
  gather.offset.origin += 1;
  expect_error(a, "outside [0, 9)");
  gather.offset.origin -= 1;
  const std::vector<std::int32_t> map = {0, 1, 2, 3, 9, 5, 6, 7, 8};
  gather.offset.map = map.data();
  expect_error(a, "table row 9");
  gather.offset.map = nullptr;
  gather.offset.table_rows = 8;
  expect_error(a, "the table has 8");
  gather.table = nullptr;
  expect_error(a, "table is missing");
  terms_[0].term = DenseTerm{};
  expect_error(a, "table is missing");
}

TEST_F(AttentionErrors, MasksAndGridsThatWouldOverflow) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  AttentionArgs a = good_;
  a.mask.causal_offset = kMost;
  expect_error(a, "causal offset");
  a.mask.causal_offset = 0;
  a.mask.causal_span = kMost;
  expect_error(a, "causal span");
  a = good_;
  const std::vector<std::int32_t> boxes(16);
  a.mask.query_box = boxes.data();
  a.mask.box_columns = kMost;
  expect_error(a, "columns");
  a.mask.box_columns = 2;
  a.mask.box_first_key = kMost;
  expect_error(a, "start at key");
  a = good_;
  AxisTerm axis;  // 2^66 keys: none of them when counted in 64 bits
  axis.extents = {std::int64_t{1} << 62, 4, 4};
  axis.tables = {out_.data(), out_.data(), out_.data()};
  terms_[0].term = axis;
  a.terms = terms_;
  expect_error(a, "are not the 4");
}

TEST_F(AttentionErrors, BackwardBuffers) {
  AttentionGradArgs g;
  g.forward = good_;
  EXPECT_THROW(attention_backward(g), Error);  // no lse
  std::vector<float> lse(8);
  g.forward.lse = lse.data();
  EXPECT_THROW(attention_backward(g), Error);  // no gradients
}

}  // namespace attention_test
}  // namespace locant::testing
