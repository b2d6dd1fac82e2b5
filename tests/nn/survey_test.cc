#include <gtest/gtest.h>

#include "core/error.h"
#include "nn/survey_conv_embedding.h"
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

}  // namespace survey_test
}  // namespace locant
