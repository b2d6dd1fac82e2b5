#include "core/error.h"
#include "tests/ops/attention/check.h"

namespace locant {
namespace attention_terms_test {

using testing::AttentionCall;
using testing::check;
using testing::diagonal_map;
using testing::mapped_diagonal;
using testing::Path;
using testing::table;
using testing::term_kinds;
using testing::TermKind;

// Sizes and rows that every kind of term must work with.
std::vector<std::pair<std::string, AttentionCall>> places() {
  std::vector<std::pair<std::string, AttentionCall>> out;
  out.emplace_back("joint", AttentionCall{.B = 2, .Nq = 4, .Nk = 4, .H = 2, .D = 3, .Dv = 3, .joint = true});
  out.emplace_back("cross", AttentionCall{.B = 2, .Nq = 3, .Nk = 5, .H = 2, .D = 2, .Dv = 3});
  out.emplace_back("more queries", AttentionCall{.B = 1, .Nq = 6, .Nk = 2, .H = 2, .D = 1, .Dv = 2});
  AttentionCall windows{.B = 2, .Nq = 6, .Nk = 6, .H = 2, .D = 2, .Dv = 2, .joint = true};
  windows.options.rows = testing::shifted_windows(3, 2, 2, 1);
  out.emplace_back("padding masked", windows);
  windows.options.rows = testing::shifted_windows(3, 2, 2, 0);  // padding shares a region with tokens
  AttentionCall zero = windows;
  zero.options.zero_pad = true;
  out.emplace_back("padding zero", zero);
  AttentionCall own = windows;
  own.options.pad_bias = table({3 * 2 * 2});
  out.emplace_back("padding of its own", own);
  AttentionCall shared{.B = 2, .Nq = 6, .Nk = 5, .H = 1, .D = 2, .Dv = 3};  // rows 4, 5 are nobody's query
  RowMaps maps{.groups = 2, .queries = 2, .keys = 3};
  maps.query_rows = {0, 2, 1, 3};
  maps.key_rows = {3, 0, 4, 3, -1, 2};  // row 3 is a key of both groups
  shared.options.rows = std::make_shared<const RowMaps>(maps);
  out.emplace_back("shared keys", shared);
  return out;
}

class AttentionTermKinds : public ::testing::TestWithParam<TermKind> {};

TEST_P(AttentionTermKinds, AloneInEveryPlace) {
  for (auto& [place, call] : places()) {
    AttentionCall c = call;
    GetParam().add(c);
    check(place, c);
  }
}

TEST_P(AttentionTermKinds, WithScalePerHead) {
  for (auto& [place, call] : places()) {
    AttentionCall c = call;
    GetParam().add(c);
    if (c.options.terms.empty()) continue;  // factor and value term have none
    c.options.terms[0].head_scale = table({c.H});
    check(place, c);
  }
}

TEST_P(AttentionTermKinds, WithOwnScaleMasksAndDropout) {
  AttentionCall c{.B = 2, .Nq = 4, .Nk = 5, .H = 2, .D = 2, .Dv = 3, .rng_seed = 5};
  c.options.scale = 0.7f;
  c.options.dropout = 0.3f;
  c.options.key_lengths = {5, 3};
  c.options.visibility = {.causal = true, .causal_offset = 1};
  GetParam().add(c);
  check("masked", c);
}

TEST_P(AttentionTermKinds, ComposedAgreesWithDifferences) {
  AttentionCall c{.B = 1, .Nq = 3, .Nk = 4, .H = 2, .D = 2, .Dv = 2};
  GetParam().add(c);
  const std::vector<Tensor> inputs = c.inputs();
  const std::vector<Tensor> run =
      testing::run_call(c, inputs, Path::composed, std::vector<bool>(inputs.size(), true));
  const Tensor dy = testing::random_tensor(run[0].shape(), 99);
  const auto loss = [&](std::size_t input, const Tensor& direction, float step) {
    std::vector<Var> leaves;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      leaves.emplace_back(inputs[i].clone());
      if (i != input) continue;
      Tensor moved = inputs[i].clone();
      for (std::int64_t n = 0; n < moved.numel(); ++n) moved[n] += step * direction[n];
      leaves.back() = Var(moved);
    }
    const Tensor y = c.run({}, leaves, Path::composed).value();
    double sum = 0;
    for (std::int64_t n = 0; n < y.numel(); ++n) sum += double{y[n]} * double{dy[n]};
    return sum;
  };
  constexpr float kStep = 1.0f / 64;  // float32 noise of 1e-7 / kStep against a cubic term of kStep^2
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor direction = testing::random_tensor(inputs[i].shape(), 70 + i);
    double want = 0;
    for (std::int64_t n = 0; n < direction.numel(); ++n) want += double{run[i + 1][n]} * double{direction[n]};
    const double got = (loss(i, direction, kStep) - loss(i, direction, -kStep)) / (2 * double{kStep});
    EXPECT_NEAR(got, want, 1e-3) << "input " << i;
  }
}

TEST_P(AttentionTermKinds, ScoresAreWhatEntersTheSoftmax) {
  // Given back as a dense bias, they give the same attention.
  AttentionCall c{.B = 1, .Nq = 3, .Nk = 4, .H = 2, .D = 2, .Dv = 4};
  GetParam().add(c);
  if (c.options.terms.empty()) return;
  std::vector<Tensor> inputs = c.inputs();
  AttentionOptions o = c.options;
  o.heads = c.H;
  std::size_t next = 3;
  testing::each_var(o, [&](Var& v) { v = Var(inputs[next++]); });
  o.terms[0].head_scale = Var(testing::random_tensor({c.H}, 60));
  const Var q(inputs[0]), k(inputs[1]), v(inputs[2]);
  const Tensor scores = attention_term_scores(q, k, v, o, 0);
  ASSERT_EQ(scores.shape(), (Shape{1, 1, c.H, c.Nq, c.Nk}));
  AttentionOptions dense;
  dense.heads = c.H;
  dense.terms = {dense_term(Var(scores))};
  testing::expect_close(attention_composed({}, q, k, v, o).value(),
                        testing::to_double(attention_composed({}, q, k, v, dense).value()), 2e-6, "result");
  EXPECT_THROW(attention_term_scores(q, k, v, o, 1), Error);
}

INSTANTIATE_TEST_SUITE_P(Kinds, AttentionTermKinds, ::testing::ValuesIn(term_kinds()), [](const auto& info) {
  std::string name;
  for (const char c : std::string(info.param.name))
    if (c != ' ') name += c;
  return name;
});

TEST(AttentionTerms, DenseOfEveryShape) {
  for (const Shape& shape : {Shape{4, 5},
                             {2, 4, 5},
                             {1, 2, 4, 5},
                             {3, 1, 2, 4, 5},
                             {3, 1, 1, 4, 5},
                             {1, 5},
                             {2, 1, 5},
                             {3, 1, 2, 1, 5}}) {
    AttentionCall c{.B = 3, .Nq = 4, .Nk = 5, .H = 2, .D = 3, .Dv = 3};
    c.options.terms = {dense_term(table(shape))};
    check(shape.str(), c);
  }
  AttentionCall windows{.B = 2, .Nq = 6, .Nk = 6, .H = 2, .D = 2, .Dv = 2, .joint = true};
  windows.options.rows = testing::shifted_windows(3, 2, 2, 1);
  for (const Shape& shape : {Shape{2, 1, 4, 4}, {2, 2, 2, 4, 4}, {2, 2, 1, 1, 4}}) {
    windows.options.terms = {dense_term(table(shape))};
    check(shape.str(), windows);
  }
}

TEST(AttentionTerms, GatherWithASpecialToken) {
  AttentionCall c{.B = 2, .Nq = 7, .Nk = 7, .H = 2, .D = 2, .Dv = 2, .joint = true};
  c.options.terms = {gather_term(table({3 * 5 + 3, 2}), testing::prefix_map(2, 3))};
  check("bias", c);
  c.options.terms = {band_term(Side::query, table({3 * 5 + 3, 2}), testing::prefix_map(2, 3)),
                     axis_term(table({2, 7, 2, 2}), table({2, 7, 2, 3}), 1)};
  c.options.value_term = {table({2, 3 * 5 + 3, 2}), testing::prefix_map(2, 3)};
  check("vectors and axes", c);
}

TEST(AttentionTerms, AxesOfEveryNumber) {
  AttentionCall c{.B = 2, .Nq = 3, .Nk = 13, .H = 2, .D = 2, .Dv = 2};
  c.options.terms = {axis_term(table({2, 3, 2, 2}), table({2, 3, 2, 3}), 1, table({2, 3, 2, 2}))};
  check("three axes", c);
  c.Nk = 12;
  c.options.terms = {axis_term(Var(), table({2, 3, 2, 12}))};
  check("columns alone", c);
  c.options.terms = {axis_term(table({2, 3, 2, 10}), Var(), 2)};
  check("rows alone", c);
  c.options.terms = {axis_term(Var(), table({2, 3, 2, 4}), 0, table({2, 3, 2, 3}))};
  check("frames and columns", c);
}

TEST(AttentionTerms, SeveralAtOnce) {
  using Numbers = std::vector<std::size_t>;
  for (const Numbers& numbers : {Numbers{0, 2}, Numbers{4, 5, 6, 7}, Numbers{2, 8, 10, 9},
                                 Numbers{6, 7, 9, 11}, Numbers{1, 3, 5, 6, 9, 10}})
    for (auto& [place, call] : places()) {
      AttentionCall c = call;
      std::string what = place;
      for (const std::size_t n : numbers) {
        term_kinds()[n].add(c);
        what += std::string(", ") + term_kinds()[n].name;
      }
      if (!c.options.terms.empty()) c.options.terms.back().head_scale = table({c.H});
      check(what, c);
    }
}

// Transformer-XL: one table read twice, content and position parts; its gradients add up.
TEST(AttentionTerms, OneTableInTwoTerms) {
  const Tensor numbers = testing::random_tensor({7, 2}, 1), qkv = testing::random_tensor({2, 4, 3 * 4}, 2);
  for (const Path path : {Path::composed, Path::fused}) {
    const auto gradient = [&](float times, int terms) {
      Tape tape;
      Tensor scaled = numbers.clone();
      for (float& x : scaled.values()) x *= times;
      const Var shared(scaled, true);
      AttentionOptions o{.heads = 2};
      for (int t = 0; t < terms; ++t) o.terms.push_back(gather_term(shared, diagonal_map(4, 4)));
      const Context ctx{.tape = &tape};
      const Var y = path == Path::fused ? attention(ctx, Var(qkv), o) : attention_composed(ctx, Var(qkv), o);
      tape.backward({{y, testing::random_tensor(y.shape(), 3)}});
      return shared.grad();
    };
    const Tensor once = gradient(2.0f, 1), twice = gradient(1.0f, 2);
    std::vector<double> want = testing::to_double(once);
    for (double& x : want) x *= 2;
    testing::expect_close(twice, want, 1e-5, "gradient");
  }
}

// Both in float32. Table entries that no pair reads are zero in both; they must not shrink the unit of error.
void expect_equal(const Tensor& got, const Tensor& want, const std::string& what) {
  std::vector<float> some;
  std::vector<double> other;
  for (std::int64_t n = 0; n < want.numel(); ++n) {
    if (got[n] == 0.0f && want[n] == 0.0f) continue;
    some.push_back(got[n]);
    other.push_back(want[n]);
  }
  EXPECT_LE(testing::worst_error(some, other), 2e-5) << what;
}

// Sizes around whole register tiles, blocks of keys and vectors, fused beside composed.
TEST(AttentionTerms, FusedAgreesWithComposedOnLargerCalls) {
  for (const auto& [Nq, Nk, D, Dv] :
       {std::array<std::int64_t, 4>{67, 131, 17, 40}, {96, 64, 32, 32}, {9, 200, 64, 5}})
    for (const TermKind& kind : term_kinds()) {
      SCOPED_TRACE(std::string(kind.name) + " " + std::to_string(Nq));
      AttentionCall c{.B = 2, .Nq = Nq, .Nk = Nk, .H = 3, .D = D, .Dv = Dv};
      kind.add(c);
      if (!c.options.terms.empty()) c.options.terms[0].head_scale = table({3});
      const std::vector<Tensor> inputs = c.inputs();
      const std::vector<bool> all(inputs.size(), true);
      const std::vector<Tensor> want = testing::run_call(c, inputs, Path::composed, all),
                                got = testing::run_call(c, inputs, Path::fused, all);
      for (std::size_t i = 0; i < want.size(); ++i)
        expect_equal(got[i], want[i], i == 0 ? "result" : "gradient of input " + std::to_string(i - 1));
    }
}

}  // namespace attention_terms_test
}  // namespace locant
