// Music Transformer, the encoder with any 1-D encoding, and the one with linear attention.
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sequence_encoders_test {

using testing::random_tensor;

constexpr const char* kPositions[] = {"none",
                                      "sinusoidal_1d",
                                      "learned_absolute",
                                      "rope",
                                      "alibi",
                                      "kerple",
                                      "kerple_power",
                                      "t5_bucket",
                                      "shaw",
                                      "transformer_xl",
                                      "conformer",
                                      "music_transformer",
                                      "relative_key",
                                      "relative_key_query",
                                      "deberta"};

std::unique_ptr<Model> tiny(const char* family, const std::string& more,
                            WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model(family, R"({"dim":8,"heads":2,"depth":2,"ffn_dim":12)" + more + "}",
                    Weights(source, mode));
}

std::string with_position(const std::string& position) {
  return R"(,"position":")" + position + "\"" + (position == "transformer_xl" ? R"(,"causal":true)" : "");
}

Var ids(std::int64_t B, std::int64_t N) {
  Tensor out({B, N});
  for (std::int64_t i = 0; i < out.numel(); ++i) out[i] = static_cast<float>(i * 7 % 20);
  return Var(std::move(out));
}

void expect_all_gradients(const char* family, const std::string& more, const Var& input) {
  const auto model = tiny(family, more, WeightMode::train);
  Tape tape;
  Rng rng(3);
  const Context ctx{.tape = &tape, .train = true, .rng = &rng};
  const Var out = model->forward(ctx, input);
  tape.backward({{out, random_tensor(out.shape(), 3)}});
  for (const Parameter& p : model->parameters())
    EXPECT_TRUE(p.value.grad().defined()) << more << " " << p.name;
}

// What makes a music_transformer of the port: 390 events, 6 layers 512 wide, 2,048 rows of Er a layer.
TEST(MusicTransformer, ParameterCount) {
  const ModelEntry& entry = find_model("music_transformer");
  std::int64_t numbers = 0;
  for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
  const std::int64_t C = 512, F = 1024, V = 390;
  EXPECT_EQ(numbers,
            6 * (4 * C * C + 4 * C + 2048 * 64 + 2 * C * F + F + C + 4 * C) + 2 * C + V * C + C * V + V);
}

TEST(MusicTransformer, PredictsFromThePastAlone) {
  const auto model = tiny("music_transformer", R"(,"vocab_size":20,"er_len":9)");
  Tensor other = ids(1, 7).value().clone();
  other[6] = 19.0f;
  const Tensor a = model->forward({}, ids(1, 7)).value(), b = model->forward({}, Var(other)).value();
  ASSERT_EQ(a.shape(), (Shape{1, 7, 20}));
  for (std::int64_t at = 0; at < 6 * 20; ++at) EXPECT_EQ(a[at], b[at]);
  EXPECT_NE(a[6 * 20], b[6 * 20]);
  EXPECT_THROW(model->forward({}, ids(1, 10)), Error);  // beyond Er
  EXPECT_THROW(model->run({}, {{"ids", ids(1, 7)}, {"length", Var(Tensor::full({1}, 8.0f))}}), Error);
  expect_all_gradients("music_transformer", R"(,"vocab_size":20,"er_len":9,"dropout":0.1)", ids(2, 9));
}

TEST(TransformerEncoder, EveryEncodingTrainsAndTellsAnOrder) {
  for (const char* position : kPositions) {
    const std::string more = with_position(position) + R"(,"vocab_size":20,"num_classes":3,"pool":"mean")";
    expect_all_gradients("transformer_encoder", more + R"(,"dropout":0.1)", ids(2, 9));
    const auto model = tiny("transformer_encoder", more);
    const Tensor a = model->forward({}, ids(1, 9)).value();
    Tensor other({1, 9});
    for (std::int64_t n = 0; n < 9; ++n) other[n] = ids(1, 9).value()[2 * n % 9];
    const Tensor b = model->forward({}, Var(other)).value();
    ASSERT_EQ(a.shape(), (Shape{1, 3}));
    const float far = std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]);
    // The mean of tokens in the other order is the same, unless something tells where each one stands.
    if (std::string(position) == "none")
      EXPECT_LT(far, 1e-6f);
    else
      EXPECT_GT(far, 1e-6f) << position;
  }
}

TEST(TransformerEncoder, TokensBeyondTheLengthHaveNoPart) {
  for (const char* position : kPositions)
    for (const char* pool : {"mean", "first"}) {
      const auto model =
          tiny("transformer_encoder", with_position(position) + R"(,"pool":")" + pool +
                                          R"(","in_chans":5,"final_norm":true,"block_norm":"pre")");
      const Tensor x = random_tensor({1, 9, 5}, 1);
      Tensor other = x.clone();
      for (std::int64_t at = 6 * 5; at < 9 * 5; ++at) other[at] = 4.0f;
      const auto run = [&](const Tensor& of) {
        return model->run({}, {{"input", Var(of)}, {"lengths", Var(Tensor::full({1}, 6.0f))}})
            .front()
            .value();
      };
      const Tensor a = run(x), b = run(other);
      for (std::int64_t c = 0; c < 8; ++c) EXPECT_EQ(a[c], b[c]) << position << " " << pool;
    }
}

TEST(TransformerEncoder, RefusesWhatCannotBe) {
  for (const char* more :
       {R"(,"position":"transformer_xl")", R"(,"vocab_size":5,"in_chans":4)", R"(,"position":"natten")",
        R"(,"position":"t5_bucket","num_buckets":6)", R"(,"position":"t5_bucket","max_distance":4)",
        R"(,"position":"deberta","max_distance":12)", R"(,"heads":3)"})
    EXPECT_THROW(tiny("transformer_encoder", more), Error) << more;
  EXPECT_THROW(tiny("transformer_encoder", R"(,"position":"learned_absolute","max_length":8)")
                   ->forward({}, Var(random_tensor({1, 9, 8}, 1))),
               Error);
}

TEST(LinearTransformer, SeesWhatItMayAndTrains) {
  for (const char* map : {"elu", "relu", "taylor"})
    for (const bool causal : {false, true}) {
      const std::string more = std::string(R"(,"in_chans":5,"position":"rope","feature_map":")") + map +
                               R"(","causal":)" + (causal ? "true" : "false");
      expect_all_gradients("linear_transformer", more, Var(random_tensor({2, 9, 5}, 1)));
      const auto model = tiny("linear_transformer", more);
      const Tensor x = random_tensor({1, 9, 5}, 1);
      Tensor other = x.clone();
      other[8 * 5] += 1.0f;
      EXPECT_EQ(model->forward({}, Var(x)).value()[0] == model->forward({}, Var(other)).value()[0], causal)
          << more;
    }
  EXPECT_THROW(tiny("linear_transformer", R"(,"feature_map":"softmax")"), Error);
}

}  // namespace sequence_encoders_test
}  // namespace locant
