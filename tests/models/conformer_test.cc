#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace conformer_model_test {

using testing::random_tensor;

std::int64_t count(const char* name) {
  const ModelEntry& entry = find_model(name);
  std::int64_t numbers = 0;
  for (const Parameter& p : model_parameters(entry.family, entry.config))
    if (p.learned) numbers += p.shape.numel();
  return numbers;
}

std::unique_ptr<Model> tiny(const char* family, const std::string& more,
                            WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model(family, R"({"dim":8,"heads":2,"depth":2,"ffn_dim":12,"conv_kernel":3)" + more + "}",
                    Weights(source, mode));
}

// Of the form of ESPnet and NeMo without the depthwise bias (spec sequence 14.5), 24 D^2 + (k + 31) D a
// block, and the subsampling: 10 D + (9 D + 1) D + 19 D D + D.
TEST(Conformer, ParameterCounts) {
  for (const auto& [name, D, depth] :
       {std::tuple{"conformer_small", 144, 16}, {"conformer_medium", 256, 16}, {"conformer_large", 512, 17}})
    EXPECT_EQ(count(name), depth * (24 * D * D + 62 * D) + 10 * D + (9 * D + 1) * D + 19 * D * D + D) << name;
}

// Counted by transformers 5.24 (Wav2Vec2ConformerEncoder), without pos_conv_embed, which it never uses.
TEST(Wav2Vec2Conformer, ParameterCounts) {
  EXPECT_EQ(count("wav2vec2_conformer_rel_pos_large"), 605'431'808);
  EXPECT_EQ(count("wav2vec2_conformer_rope_large"), 580'216'832);
}

TEST(Conformer, SubsamplingKeepsEveryFourthFrame) {
  const auto model = tiny("conformer", R"(,"input_dim":20,"num_classes":5)");
  for (const auto& [frames, left] : {std::pair{7, 1}, {10, 1}, {11, 2}, {100, 24}}) {
    const Tensor out = model->forward({}, Var(random_tensor({2, frames, 20}, 1))).value();
    ASSERT_EQ(out.shape(), (Shape{2, left, 5}));
    double sum = 0.0;
    for (int c = 0; c < 5; ++c) sum += std::exp(out[c]);
    EXPECT_NEAR(sum, 1.0, 1e-5);
  }
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 6, 20}, 1))), Error);
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 9, 21}, 1))), Error);
}

// A sample is what it is alone, as far as the convolutions do not look beyond its end.
TEST(Conformer, LengthsHideKeys) {
  for (const char* position : {R"(,"position":"none")", R"(,"position":"transformer_xl")"}) {
    const auto model = tiny("conformer", position);
    const Tensor x = random_tensor({1, 9, 8}, 1);
    Tensor other = x.clone();
    other[8 * 8 + 3] += 2.0f;
    const auto run = [&](const Tensor& of) {
      return model->run({}, {{"input", Var(of)}, {"lengths", Var(Tensor::full({1}, 6.0f))}}).front().value();
    };
    const Tensor a = run(x), b = run(other);
    for (std::int64_t at = 0; at < 5 * 8; ++at) ASSERT_EQ(a[at], b[at]) << position;
    EXPECT_NE(model->forward({}, Var(x)).value()[0], model->forward({}, Var(other)).value()[0]);
  }
}

TEST(Conformer, OrderOfConvolutionAndAttentionMatters) {
  const Tensor x = random_tensor({1, 6, 8}, 1);
  const auto of = [&](const char* more) { return tiny("conformer", more)->forward({}, Var(x)).value(); };
  EXPECT_NE(of("")[0], of(R"(,"convolution_first":true)")[0]);
  EXPECT_NE(of("")[0], of(R"(,"half_step":false)")[0]);
}

// Padding enters the convolutions as zeros and is seen by no token.
TEST(Wav2Vec2Conformer, HiddenFramesAreNotThere) {
  for (const char* position : {"none", "transformer_xl", "rotary_hidden"}) {
    const auto model = tiny("wav2vec2_conformer", std::string(R"(,"position":")") + position + "\"");
    const Tensor x = random_tensor({1, 8, 8}, 1);
    Tensor other = x.clone();
    for (std::int64_t at = 6 * 8; at < 8 * 8; ++at) other[at] = 3.0f;
    Tensor mask = Tensor::full({1, 8}, 1.0f);
    mask[6] = mask[7] = 0.0f;
    const auto run = [&](const Tensor& of) {
      return model->run({}, {{"input", Var(of)}, {"attention_mask", Var(mask)}}).front().value();
    };
    const Tensor a = run(x), b = run(other);
    for (std::int64_t at = 0; at < 6 * 8; ++at) ASSERT_EQ(a[at], b[at]) << position;
  }
}

TEST(Conformer, GradientsReachEveryTensor) {
  for (const auto& [family, more] :
       {std::pair{"conformer", R"(,"input_dim":20,"num_classes":3,"dropout":0.1)"},
        {"conformer", R"(,"position":"none","conv_bias":true)"},
        {"wav2vec2_conformer", R"(,"position":"rotary_hidden","act":"gelu")"}}) {
    const auto model = tiny(family, more, WeightMode::train);
    Tape tape;
    Rng rng(3);
    const Context ctx{.tape = &tape, .train = true, .rng = &rng};
    const Var out = model->forward(
        ctx, Var(random_tensor({2, 15, std::string(more).find("20") != std::string::npos ? 20 : 8}, 2)));
    tape.backward({{out, random_tensor(out.shape(), 3)}});
    for (const Parameter& p : model->parameters()) {
      if (!p.learned) continue;
      EXPECT_TRUE(p.value.grad().defined()) << more << " " << p.name;
    }
  }
}

TEST(Conformer, RefusesWhatCannotBe) {
  for (const char* more :
       {R"(,"conv_kernel":4)", R"(,"input_dim":6)", R"(,"act":"gelu")", R"(,"position":"rope")"})
    EXPECT_THROW(tiny("conformer", more), Error) << more;
  for (const char* more : {R"(,"conv_bias":true)", R"(,"conv_kernel":2)", R"(,"heads":8)"})
    EXPECT_THROW(tiny("wav2vec2_conformer", more), Error) << more;
}

}  // namespace conformer_model_test
}  // namespace locant
