#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace deberta_v2_test {

std::unique_ptr<Model> tiny(const std::string& more = "", WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model(
      "deberta_v2",
      R"({"vocab_size":20,"dim":8,"depth":2,"heads":2,"ffn_dim":12,"position_buckets":4,"max_relative_positions":8)" +
          more + "}",
      Weights(source, mode));
}

Var row(const std::vector<float>& numbers) {
  Tensor out({1, static_cast<std::int64_t>(numbers.size())});
  std::copy(numbers.begin(), numbers.end(), out.data());
  return Var(std::move(out));
}

// Counted by transformers 5.24 (DebertaV2Model).
TEST(DebertaV2, ParameterCounts) {
  const std::vector<std::pair<const char*, std::int64_t>> counts = {
      {"deberta_v3_xsmall", 70'682'112},    {"deberta_v3_small", 141'304'320},
      {"deberta_v3_base", 183'831'552},     {"deberta_v3_large", 434'012'160},
      {"mdeberta_v3_base", 278'218'752},    {"deberta_v2_xlarge", 884'593'152},
      {"deberta_v2_xxlarge", 1'564'549'632}};
  for (const auto& [name, count] : counts) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

// What the mask hides is seen by no token, at the end or between others; of the convolution too.
TEST(DebertaV2, HiddenTokensAreNotSeen) {
  for (const char* more : {"", R"(,"conv_kernel_size":3)", R"(,"position_biased_input":true)"}) {
    const auto model = tiny(more);
    const auto run = [&](const std::vector<float>& ids, const std::vector<float>& mask) {
      return model->run({}, {{"input_ids", row(ids)}, {"attention_mask", row(mask)}}).front().value();
    };
    const Tensor alone = model->forward({}, row({3, 1, 4})).value(),
                 padded = run({3, 1, 4, 7, 9}, {1, 1, 1, 0, 0});
    for (std::int64_t at = 0; at < 24; ++at) EXPECT_NEAR(alone[at], padded[at], 1e-6f) << more;
    const Tensor gap = run({3, 7, 4, 9}, {1, 0, 1, 1}), other = run({3, 8, 4, 9}, {1, 0, 1, 1});
    EXPECT_EQ(gap[0], other[0]) << more;
    EXPECT_EQ(gap[16], other[16]) << more;
    EXPECT_NE(model->forward({}, row({3, 7, 4, 9})).value()[0], gap[0]) << more;
  }
}

TEST(DebertaV2, GradientsReachEveryTensor) {
  for (
      const char* more :
      {R"(,"dropout":0.1)",
       R"(,"share_att_key":false,"norm_rel_ebd":"none","conv_kernel_size":3,"conv_act":"gelu")",
       R"(,"pos_att_type":["p2c"],"type_vocab_size":1,"embedding_size":6,"position_biased_input":true,"max_position_embeddings":6)"}) {
    const auto model = tiny(more, WeightMode::train);
    Tape tape;
    Rng rng(3);
    const Context ctx{.tape = &tape, .train = true, .rng = &rng};
    const Var out = model->forward(ctx, row({3, 1, 4, 1, 5, 9}));
    tape.backward({{out, testing::random_tensor(out.shape(), 3)}});
    for (const Parameter& p : model->parameters())
      EXPECT_TRUE(p.value.grad().defined()) << more << " " << p.name;
  }
}

TEST(DebertaV2, RefusesWhatCannotBe) {
  const auto model = tiny(R"(,"type_vocab_size":2,"position_biased_input":true,"max_position_embeddings":4)");
  EXPECT_THROW(model->forward({}, row({20})), Error);
  EXPECT_THROW(model->forward({}, row({1, 2, 3, 4, 5})), Error);
  EXPECT_THROW(model->run({}, {{"input_ids", row({1, 2})}, {"token_type_ids", row({0, 2})}}), Error);
  EXPECT_THROW(model->run({}, {{"input_ids", row({1, 2})}, {"token_type_ids", row({0})}}), Error);
  EXPECT_THROW(model->run({}, {{"input_ids", row({1, 2})}, {"attention_mask", row({1})}}), Error);
  for (const char* more :
       {R"(,"pos_att_type":["p2p"])", R"(,"pos_att_type":[])", R"(,"pos_att_type":["c2p","c2p"])",
        R"(,"conv_kernel_size":2)", R"(,"relative_attention":false)", R"(,"scale":"2_head_dim")",
        R"(,"mask":"keys")", R"(,"norm_rel_ebd":"batch_norm")"})
    EXPECT_THROW(tiny(more), Error) << more;
  EXPECT_THROW(tiny(R"(,"position_buckets":14)"), Error);
}

}  // namespace deberta_v2_test
}  // namespace locant
