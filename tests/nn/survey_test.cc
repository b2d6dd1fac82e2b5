#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "nn/survey_conv_embedding.h"
#include "nn/survey_cvt_attention.h"
#include "nn/survey_sasa.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace survey_test {

// The printed code, run with the weights of the golden layers: C 4, 2 heads, K 3, 2 x 3 places.
TEST(SurveySasa, IsThePrintedCode) {
  testing::SineSource source({"rel_encoding_h", "rel_encoding_w", "k_conv.weight", "k_conv.bias",
                              "q_conv.weight", "q_conv.bias", "v_conv.weight", "v_conv.bias"});
  const SurveySasa layer(Weights(source, WeightMode::train), {.in = 4, .out = 4, .kernel = 3, .heads = 2});
  Tensor x({1, 4, 2, 3});
  for (std::int64_t i = 0; i < 24; ++i) x[i] = static_cast<float>(std::cos(0.37 * static_cast<double>(i)));
  const std::vector<double> want = {0.156989,  0.066649,  0.157191,  0.134997,  0.104683,  0.201533,
                                    0.301032,  0.283779,  0.426682,  0.350805,  0.477996,  0.498618,
                                    -0.034668, 0.027651,  0.028152,  -0.018041, 0.048965,  0.018492,
                                    -0.286452, -0.234429, -0.345733, -0.315744, -0.228277, -0.333570};
  testing::expect_close(layer({}, Var(x)).value(), want, 1e-5, "output");
}

TEST(SurveySasa, RefusesWhatMakesNoLayer) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(SurveySasa(w, {.in = 4, .out = 4, .kernel = 3, .heads = 3}), Error);
  EXPECT_THROW(SurveySasa(w, {.in = 4, .out = 3, .kernel = 3, .heads = 1}), Error);
  EXPECT_THROW(SurveySasa(w, {.in = 4, .out = 4, .kernel = 0, .heads = 2}), Error);
  const SurveySasa layer(w, {.in = 4, .out = 4, .kernel = 4, .heads = 2});
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 3, 2, 2}))), Error);
  EXPECT_EQ(layer({}, Var(Tensor::zeros({2, 4, 3, 5}))).shape(), (Shape{2, 4, 3, 5}));
}

// Tokens in a row: the middle row of the kernel alone, all channels, no residual.
TEST(SurveyConvEmbedding, IsAConvolutionOfTokensInARow) {
  RandomSource source(2);
  const Weights w(source, WeightMode::train);
  const SurveyConvEmbedding layer(w, 3);
  const Tensor x = testing::random_tensor({2, 5, 3}, 3);
  Tensor weight, bias;
  for (const Parameter& p : w.parameters()) (p.name == "conv.weight" ? weight : bias) = p.value.value();
  std::vector<double> want;
  for (std::int64_t b = 0; b < 2; ++b)
    for (std::int64_t n = 0; n < 5; ++n)
      for (std::int64_t c = 0; c < 3; ++c) {
        double sum = bias[c];
        for (std::int64_t v = -1; v <= 1; ++v)
          for (std::int64_t i = 0; i < 3 && n + v >= 0 && n + v < 5; ++i)
            sum += double(weight[((c * 3 + i) * 3 + 1) * 3 + v + 1]) * x[(b * 5 + n + v) * 3 + i];
        want.push_back(sum);
      }
  testing::expect_close(layer({}, Var(x)).value(), want, 1e-6, "output");
  EXPECT_THROW(SurveyConvEmbedding(w, 3, 2), Error);
}

using Cvt = SurveyCvtAttention;
using Numbers = std::map<std::string, std::vector<double>>;

// Every number far from where it starts, statistics too.
class SpreadSource final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    Tensor out = RandomSource(5).get(name, shape, Init::normal(0.6f));
    if (name.ends_with("running_var"))
      for (float& x : out.values()) x = 0.5f + x * x;
    return out;
  }
};

// The layer's description for one sample, a number at a time.
class PlainCvt {
 public:
  PlainCvt(Cvt::Options options, Grid grid) : o_(options), grid_(grid) {}

  std::vector<double> operator()(const Numbers& n, const std::vector<double>& x) const {
    const bool literal = o_.form == Cvt::Form::literal;
    const std::int64_t D = o_.head_dim, inner = o_.heads * D, C = o_.width;
    const std::vector<double> q = projected(n, "to_q", x, 1), k = projected(n, "to_k", x, literal ? 1 : 2),
                              v = projected(n, "to_v", x, literal ? 1 : 2);
    const auto Nq = count(q, inner), Nk = count(k, inner);
    const double scale = 1.0 / std::sqrt(static_cast<double>(literal ? D : C));
    std::vector<double> y(q.size());
    for (std::int64_t i = 0; i < Nq; ++i)
      for (std::int64_t h = 0; h < o_.heads; ++h) {
        double total = 0;
        for (std::int64_t j = 0; j < Nk; ++j) {
          double score = 0;
          for (std::int64_t d = h * D; d < (h + 1) * D; ++d)
            score += at(q, i * inner + d) * at(k, j * inner + d);
          const double p = std::exp(scale * score);
          total += p;
          for (std::int64_t d = h * D; d < (h + 1) * D; ++d)
            y[static_cast<std::size_t>(i * inner + d)] += p * at(v, j * inner + d);
        }
        for (std::int64_t d = h * D; d < (h + 1) * D; ++d)
          y[static_cast<std::size_t>(i * inner + d)] /= total;
      }
    if (literal && o_.heads == 1 && D == C) return y;
    std::vector<double> out;
    for (std::int64_t i = 0; i < Nq; ++i)
      for (const double z : product(n, "to_out.0", y, i, inner)) out.push_back(z);
    return out;
  }

 private:
  static double at(const std::vector<double>& numbers, std::int64_t i) {
    return numbers[static_cast<std::size_t>(i)];
  }
  static std::int64_t count(const std::vector<double>& rows, std::int64_t width) {
    return static_cast<std::int64_t>(rows.size()) / width;
  }
  // Row `row` of x times the weight, plus the bias.
  static std::vector<double> product(const Numbers& n, const std::string& name, const std::vector<double>& x,
                                     std::int64_t row, std::int64_t in) {
    std::vector<double> out = n.at(name + ".bias");
    for (std::size_t o = 0; o < out.size(); ++o)
      for (std::int64_t i = 0; i < in; ++i)
        out[o] += at(n.at(name + ".weight"), static_cast<std::int64_t>(o) * in + i) * at(x, row * in + i);
    return out;
  }
  std::vector<double> projected(const Numbers& n, const std::string& name, const std::vector<double>& x,
                                std::int64_t stride) const {
    const std::int64_t C = o_.width, K = o_.kernel, first = o_.cls_token ? 1 : 0;
    std::vector<double> out;
    if (o_.cls_token && o_.form == Cvt::Form::literal) out.assign(x.begin(), x.begin() + C);
    if (o_.cls_token && o_.form == Cvt::Form::corrected) out = product(n, name + ".pointwise", x, 0, C);
    for (std::int64_t r = 0; r < grid_.rows; r += stride)
      for (std::int64_t c = 0; c < grid_.columns; c += stride) {
        std::vector<double> normed;
        for (std::int64_t i = 0; i < C; ++i) {
          double sum = o_.form == Cvt::Form::literal ? at(n.at(name + ".depthwise.bias"), i) : 0.0;
          for (std::int64_t u = 0; u < K; ++u)
            for (std::int64_t w = 0; w < K; ++w) {
              const std::int64_t y = r + u - K / 2, z = c + w - K / 2;
              if (y < 0 || z < 0 || y >= grid_.rows || z >= grid_.columns) continue;
              sum += at(n.at(name + ".depthwise.weight"), (i * K + u) * K + w) *
                     at(x, (first + y * grid_.columns + z) * C + i);
            }
          const auto bn = [&](const char* part) { return at(n.at(name + ".bn." + part), i); };
          normed.push_back((sum - bn("running_mean")) / std::sqrt(bn("running_var") + 1e-5) * bn("weight") +
                           bn("bias"));
        }
        for (const double z : product(n, name + ".pointwise", normed, 0, C)) out.push_back(z);
      }
    return out;
  }

  Cvt::Options o_;
  Grid grid_;
};

// Values, and the gradient of every number along the way of a weighted sum.
TEST(SurveyCvtAttention, IsItsDescriptionLiteralAndCorrected) {
  const Grid grid{1, 3, 4};
  for (const Cvt::Options& options : {Cvt::Options{.width = 4, .heads = 2, .head_dim = 2},
                                      {.width = 4, .heads = 1, .head_dim = 4},  // no out-projection
                                      {.width = 4, .heads = 2, .head_dim = 3, .cls_token = false},
                                      {.width = 4, .heads = 1, .head_dim = 4, .form = Cvt::Form::corrected},
                                      {.width = 4, .heads = 3, .head_dim = 2, .form = Cvt::Form::corrected},
                                      {.width = 4,
                                      .heads = 2,
                                      .head_dim = 2,
                                      .kernel = 5,
                                      .cls_token = false,
                                      .form = Cvt::Form::corrected}}) {
    SCOPED_TRACE(std::to_string(options.heads) + " heads, form " +
                 std::to_string(static_cast<int>(options.form)));
    SpreadSource source;
    const Weights w(source, WeightMode::train);
    const Cvt layer(w, options);
    const std::int64_t tokens = grid.tokens() + (options.cls_token ? 1 : 0);
    const Var x(testing::random_tensor({1, tokens, 4}, 3), true);
    const PlainCvt plain(options, grid);
    Numbers numbers;
    for (const Parameter& p : w.parameters()) numbers[p.name] = testing::to_double(p.value.value());
    const std::vector<double> given = testing::to_double(x.value());

    Tape tape;
    const Var got = layer(Context{&tape, false, nullptr, nullptr}, x, grid);
    testing::expect_close(got.value(), plain(numbers, given), 5e-6, "output");
    const Tensor weights = testing::random_tensor(got.shape(), 9);
    tape.backward({{got, weights}});
    const auto loss = [&](const Numbers& n, const std::vector<double>& in) {
      double sum = 0;
      const std::vector<double> y = plain(n, in);
      for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * weights[static_cast<std::int64_t>(i)];
      return sum;
    };
    testing::expect_close(
        x.grad(), testing::difference_gradient([&](const auto& in) { return loss(numbers, in); }, given),
        2e-5, "gradient of x");
    for (const Parameter& p : w.parameters()) {
      if (!p.learned) continue;
      const auto of = [&](const std::vector<double>& part) {
        Numbers changed = numbers;
        changed[p.name] = part;
        return loss(changed, given);
      };
      const std::vector<double> want = testing::difference_gradient(of, numbers[p.name]);
      const bool none = std::all_of(want.begin(), want.end(), [](double g) { return std::abs(g) < 1e-8; });
      if (none)  // what is added to all keys of a query alike
        for (const float g : p.value.grad().values()) EXPECT_NEAR(g, 0.0f, 1e-6f) << p.name;
      else
        testing::expect_close(p.value.grad(), want, 5e-5, p.name.c_str());
      EXPECT_TRUE(!none || p.name.starts_with("to_k.")) << p.name;
    }
  }
}

TEST(SurveyCvtAttention, PackedIsPlain) {
  for (const Cvt::Form form : {Cvt::Form::literal, Cvt::Form::corrected})
    for (const bool cls_token : {true, false}) {
      const Cvt::Options options{
          .width = 32, .heads = 2, .head_dim = 16, .cls_token = cls_token, .form = form};
      SpreadSource source;
      const Var x(testing::random_tensor({2, 5 * 6 + (cls_token ? 1 : 0), 32}, 4));
      const Tensor plain = Cvt(Weights(source, WeightMode::train), options)({}, x, {1, 5, 6}).value();
      const Tensor packed = Cvt(Weights(source, WeightMode::inference), options)({}, x, {1, 5, 6}).value();
      testing::expect_close(packed, testing::to_double(plain), 1e-5, "packed");
    }
}

// As it stands the class token is nobody's product: its own query asks for it alone, whatever the weights.
TEST(SurveyCvtAttention, LiteralLeavesTheClassTokenAsItIs) {
  SpreadSource source;
  Tensor x = testing::random_tensor({1, 5, 4}, 3);
  for (std::int64_t c = 0; c < 4; ++c) x[c] *= 100.0f;  // t.t outweighs all
  for (const Cvt::Form form : {Cvt::Form::literal, Cvt::Form::corrected}) {
    const Cvt layer(Weights(source, WeightMode::train),
                    {.width = 4, .heads = 1, .head_dim = 4, .form = form});
    const Tensor y = layer({}, Var(x), {1, 2, 2}).value();
    double apart = 0;
    for (std::int64_t c = 0; c < 4; ++c) apart = std::max<double>(apart, std::abs(y[c] - x[c]));
    if (form == Cvt::Form::literal)
      EXPECT_EQ(apart, 0.0);
    else
      EXPECT_GT(apart, 1.0);
  }
}

TEST(SurveyCvtAttention, RefusesWhatMakesNoLayer) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(Cvt(w, {.width = 4, .heads = 2, .head_dim = 3}), Error);
  EXPECT_THROW(Cvt(w, {.width = 4, .heads = 2, .head_dim = 2, .kernel = 2}), Error);
  EXPECT_THROW(Cvt(w, {.width = 4, .heads = 0, .head_dim = 4}), Error);
  const Cvt layer(w, {.width = 4, .heads = 2, .head_dim = 2});
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 7, 3})), {1, 2, 3}), Error);
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 6, 4})), {1, 2, 3}), Error);
  EXPECT_EQ(layer({}, Var(Tensor::zeros({2, 7, 4})), {1, 2, 3}).shape(), (Shape{2, 7, 4}));
}

}  // namespace survey_test
}  // namespace locant
