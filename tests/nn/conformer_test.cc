#include "nn/conformer.h"

#include <algorithm>

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace conformer_test {

using testing::random_tensor;

class ConformerLayers : public ::testing::Test {
 protected:
  RandomSource source_{7};
  Weights w_{source_, WeightMode::train};
  ConformerOptions options_{.width = 8, .heads = 2, .ffn_dim = 16, .kernel = 3};
};

TEST_F(ConformerLayers, BlockHasTheTensorsOfTheCheckpoints) {
  ShapeSource source;
  const Weights w(source, WeightMode::shapes);
  const ConformerBlock block(w, options_);
  std::vector<std::string> names;
  for (const Parameter& parameter : w.parameters())
    names.push_back(parameter.name + " " + parameter.shape.str());
  EXPECT_EQ(names.size(), 38U);
  for (const char* name :
       {"sequential.0.module.sequential.1.linear.weight (16, 8)", "sequential.1.module.layer_norm.bias (8)",
        "sequential.1.module.attention.u_bias (2, 4)",
        "sequential.1.module.attention.pos_proj.linear.weight (8, 8)",
        "sequential.2.module.sequential.2.conv.weight (16, 8, 1)",
        "sequential.2.module.sequential.4.conv.weight (8, 1, 3)",
        "sequential.2.module.sequential.5.running_var (8)", "sequential.2.module.sequential.7.conv.bias (8)",
        "sequential.3.module.sequential.4.linear.weight (8, 16)", "sequential.4.weight (8)"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
}

TEST_F(ConformerLayers, OneTableForAllSamplesIsTheSameAsACopyForEach) {
  const ConformerRelativeAttention layer(w_, options_);
  const Tensor x = random_tensor({3, 5, 8}, 1), table = random_tensor({1, 9, 8}, 2);
  Tensor copies({3, 9, 8});
  for (std::int64_t at = 0; at < copies.numel(); ++at) copies[at] = table[at % table.numel()];
  const auto call = [](const Tensor& positions) {
    return ConformerCall{.key_lengths = {5, 2, 4}, .positions = Var(positions)};
  };
  const Tensor shared = layer({}, Var(x), call(table)).value();
  testing::expect_close(layer({}, Var(x), call(copies)).value(), testing::to_double(shared), 1e-6,
                        "a table for each sample");
}

TEST_F(ConformerLayers, KeysBeyondTheLengthHaveNoPart) {
  const ConformerAttentionModule layer(w_, options_);
  const Tensor x = random_tensor({1, 6, 8}, 1);
  Tensor other = x.clone();
  for (std::int64_t at = 4 * 8; at < 6 * 8; at += 3) other[at] = -5.0f;
  ConformerCall call = conformer_call(options_, 6);
  call.key_lengths = {4};
  const Tensor a = layer({}, Var(x), call).value(), b = layer({}, Var(other), call).value();
  for (std::int64_t at = 0; at < 4 * 8; ++at) EXPECT_EQ(a[at], b[at]) << at;
}

// Same distances, same scores: moving the sequence behind other keys that are masked moves the result.
TEST_F(ConformerLayers, AttentionKnowsDistancesOnly) {
  const ConformerAttentionModule layer(w_, options_);
  const Tensor x = random_tensor({1, 4, 8}, 1);
  Tensor longer = Tensor::zeros({1, 7, 8});
  std::copy_n(x.data(), x.numel(), longer.data());
  ConformerCall four = conformer_call(options_, 7);
  four.key_lengths = {4};
  const Tensor alone = layer({}, Var(x), conformer_call(options_, 4)).value(),
               within = layer({}, Var(longer), four).value();
  testing::expect_close(within.reshaped({7, 8}).slice(0, 4).clone(), testing::to_double(alone), 1e-6,
                        "the first four");
}

TEST_F(ConformerLayers, RefuseWhatDoesNotFit) {
  ConformerOptions odd = options_;
  odd.heads = 3;
  EXPECT_THROW(ConformerRelativeAttention(w_, odd), Error);
  odd = options_;
  odd.kernel = 4;
  EXPECT_THROW(ConformerConvModule(w_, odd), Error);
  odd = options_;
  odd.width = 0;
  EXPECT_THROW(ConformerConvModule(w_, odd), Error);
  odd = options_;
  odd.ffn_dim = 0;
  EXPECT_THROW(ConformerFeedForward(w_, odd), Error);
  const ConformerRelativeAttention layer(w_, options_);
  const Var x(random_tensor({2, 5, 8}, 1));
  EXPECT_THROW(layer({}, x, {.positions = Var(random_tensor({1, 8, 8}, 1))}), Error);
  EXPECT_THROW(layer({}, x, {.positions = Var(random_tensor({3, 9, 8}, 1))}), Error);
  EXPECT_THROW(layer({}, x, {.key_lengths = {5}, .positions = Var(random_tensor({1, 9, 8}, 1))}), Error);
}

}  // namespace conformer_test
}  // namespace locant
