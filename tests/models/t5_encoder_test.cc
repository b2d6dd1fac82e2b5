#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"

namespace locant {
namespace t5_encoder_test {

std::unique_ptr<Model> tiny(const std::string& more = "", WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model("t5_encoder",
                    R"({"vocab_size":20,"dim":8,"depth":2,"heads":2,"head_dim":4,"ffn_dim":12)" + more + "}",
                    Weights(source, mode));
}

Var row(const std::vector<float>& numbers) {
  Tensor out({1, static_cast<std::int64_t>(numbers.size())});
  std::copy(numbers.begin(), numbers.end(), out.data());
  return Var(std::move(out));
}

float largest_difference(const Tensor& a, const Tensor& b, std::int64_t begin, std::int64_t end) {
  float most = 0.0f;
  for (std::int64_t i = begin; i < end; ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

// Counted by transformers 5.24 (T5EncoderModel, MT5EncoderModel).
TEST(T5Encoder, ParameterCounts) {
  const std::vector<std::pair<const char*, std::int64_t>> counts = {
      {"t5_small", 35'330'816},       {"t5_base", 109'628'544},       {"t5_large", 334'939'648},
      {"t5_3b", 1'240'909'824},       {"t5_11b", 4'864'791'552},      {"t5_v1_1_small", 35'332'800},
      {"t5_v1_1_base", 109'628'544},  {"t5_v1_1_large", 341'231'104}, {"t5_v1_1_xl", 1'223'527'424},
      {"t5_v1_1_xxl", 4'762'310'656}, {"mt5_small", 146'940'608},     {"mt5_xxl", 5'655'173'120},
  };
  for (const auto& [name, count] : counts) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

// Padding at the end is as if it were not there, and so is a mask with gaps for what it hides.
TEST(T5Encoder, HiddenTokensAreNotSeen) {
  const auto model = tiny();
  const auto run = [&](const std::vector<float>& ids, const std::vector<float>& mask) {
    return model->run({}, {{"input_ids", row(ids)}, {"attention_mask", row(mask)}}).front().value();
  };
  const Tensor alone = model->forward({}, row({3, 1, 4})).value(),
               padded = run({3, 1, 4, 0, 0}, {1, 1, 1, 0, 0});
  EXPECT_EQ(alone.shape(), (Shape{1, 3, 8}));
  EXPECT_LT(largest_difference(alone, padded, 0, 24), 1e-6f);
  EXPECT_GT(largest_difference(model->forward({}, row({3, 1, 4, 0, 0})).value(), padded, 0, 24), 1e-3f);

  const Tensor gap = run({3, 7, 4, 9}, {1, 0, 1, 1}), other = run({3, 8, 4, 9}, {1, 0, 1, 1});
  EXPECT_EQ(largest_difference(gap, other, 0, 8), 0.0f);
  EXPECT_EQ(largest_difference(gap, other, 16, 32), 0.0f);
  EXPECT_GT(largest_difference(gap, model->forward({}, row({3, 7, 4, 9})).value(), 0, 8), 1e-4f);
}

// Beyond max_distance all distances are one bucket: any length is read.
TEST(T5Encoder, ReadsAnyLength) {
  const auto model = tiny(R"(,"num_buckets":8,"max_distance":16,"ffn":"gated_gelu_tanh")");
  const Tensor out = model->forward({}, Var(Tensor::full({2, 300}, 5.0f))).value();
  EXPECT_EQ(out.shape(), (Shape{2, 300, 8}));
  EXPECT_EQ(model->forward({}, row({7})).shape(), (Shape{1, 1, 8}));
}

TEST(T5Encoder, GradientsReachEveryTensor) {
  for (const char* ffn : {"relu", "gated_gelu_tanh", "gated_silu"}) {
    const auto model = tiny(std::string(R"(,"dropout":0.1,"ffn":")") + ffn + "\"", WeightMode::train);
    Tape tape;
    Rng rng(3);
    const Context ctx{.tape = &tape, .train = true, .rng = &rng};
    const Var out = model->forward(ctx, row({3, 1, 4, 1, 5, 9, 2, 6}));
    tape.backward({{out, Tensor::full(out.shape(), 1.0f)}});
    for (const Parameter& p : model->parameters())
      EXPECT_TRUE(p.value.grad().defined()) << ffn << " " << p.name;
  }
}

TEST(T5Encoder, RefusesWhatCannotBe) {
  const auto model = tiny();
  EXPECT_THROW(model->forward({}, row({20})), Error);
  EXPECT_THROW(model->forward({}, row({0.5f})), Error);
  EXPECT_THROW(model->forward({}, Var(Tensor({1, 0}))), Error);
  EXPECT_THROW(model->run({}, {{"input_ids", row({1, 2})}, {"attention_mask", row({1})}}), Error);
  for (const char* more : {R"(,"num_buckets":7)", R"(,"num_buckets":2)", R"(,"max_distance":8)",
                           R"(,"ffn":"gelu")", R"(,"bidirectional":false)", R"(,"mask":"none")"})
    EXPECT_THROW(tiny(more), Error) << more;
}

}  // namespace t5_encoder_test
}  // namespace locant
