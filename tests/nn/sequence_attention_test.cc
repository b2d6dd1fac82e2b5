#include "core/error.h"
#include "nn/positioned_attention.h"
#include "nn/relative_key_attention.h"
#include "nn/shaw_attention.h"
#include "nn/transformer_xl_attention.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sequence_attention_test {

using testing::random_tensor;

std::vector<std::string> names(const Weights& w) {
  std::vector<std::string> out;
  for (const Parameter& parameter : w.parameters())
    out.push_back(parameter.name + " " + parameter.shape.str());
  return out;
}

void expect_equal(const Tensor& got, const Tensor& want, const char* what) {
  testing::expect_close(got, testing::to_double(want), 1e-5, what);
}

PositionedAttention::Options music(std::int64_t longest) {
  PositionedAttention::Options out;
  out.width = 8;
  out.heads = 2;
  out.position = AttentionPosition::music_transformer;
  out.causal = true;
  out.longest = longest;
  return out;
}

class SequenceAttention : public ::testing::Test {
 protected:
  RandomSource source_{7};
  Weights w_{source_, WeightMode::train};
};

TEST(SequenceAttentionNames, AreThoseOfTheCheckpoints) {
  ShapeSource source;
  const auto names_of = [&](const auto& make) {
    const Weights w(source, WeightMode::shapes);
    make(w);
    return names(w);
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of([](const Weights& w) {
              ShawAttention(w / "a", {8, 2, 3});
            }),
            (Names{"a.fc_q.weight (8, 8)", "a.fc_q.bias (8)", "a.fc_k.weight (8, 8)", "a.fc_k.bias (8)",
                   "a.fc_v.weight (8, 8)", "a.fc_v.bias (8)", "a.fc_o.weight (8, 8)", "a.fc_o.bias (8)",
                   "a.relative_position_k.embeddings_table (7, 4)",
                   "a.relative_position_v.embeddings_table (7, 4)"}));
  EXPECT_EQ(
      names_of([](const Weights& w) { RelativeKeyAttention(w, {.width = 8, .heads = 2, .longest = 6}); }),
      (Names{"query.weight (8, 8)", "query.bias (8)", "key.weight (8, 8)", "key.bias (8)",
             "value.weight (8, 8)", "value.bias (8)", "distance_embedding.weight (11, 4)"}));
  EXPECT_EQ(names_of([](const Weights& w) { PositionedAttention(w, music(5)); }),
            (Names{"in_proj_weight (24, 8)", "in_proj_bias (24)", "Er (5, 4)", "out_proj.weight (8, 8)",
                   "out_proj.bias (8)"}));
  TransformerXlAttention::Options options{8, 2, 3};
  EXPECT_EQ(names_of([&](const Weights& w) { TransformerXlAttention(w / "dec_attn", w, options); }),
            (Names{"r_w_bias (2, 3)", "r_r_bias (2, 3)", "dec_attn.r_net.weight (6, 8)",
                   "dec_attn.qkv_net.weight (18, 8)", "dec_attn.o_net.weight (8, 6)",
                   "dec_attn.layer_norm.weight (8)", "dec_attn.layer_norm.bias (8)"}));
  options.table_rows = 5;
  EXPECT_EQ(names_of([&](const Weights& w) { TransformerXlAttention(w / "dec_attn", w, options); }),
            (Names{"r_w_bias (2, 3)", "r_emb (5, 2, 3)", "r_bias (5, 2)", "dec_attn.qkv_net.weight (18, 8)",
                   "dec_attn.o_net.weight (8, 6)", "dec_attn.layer_norm.weight (8)",
                   "dec_attn.layer_norm.bias (8)"}));
}

// Queries that follow a memory get what they get in one sequence with it.
TEST_F(SequenceAttention, TransformerXlContinuesAfterItsMemory) {
  for (const bool pre_norm : {false, true})
    for (const std::int64_t rows : {0, 4}) {
      TransformerXlAttention::Options options{8, 2, 3};
      options.pre_norm = pre_norm;
      options.table_rows = rows;
      const TransformerXlAttention layer(w_ / "layer", w_, options);
      const Tensor all = random_tensor({7, 2, 8}, 1);
      const Tensor whole = layer({}, Var(all), {}).value();
      const Tensor later = layer({}, Var(all.slice(4, 7).clone()), Var(all.slice(0, 4).clone())).value();
      expect_equal(later, whole.slice(4, 7).clone(), "the last three of seven");
    }
}

// With same_length what lies further back than mem_len keys has no effect.
TEST_F(SequenceAttention, TransformerXlForgetsWithSameLength) {
  TransformerXlAttention::Options options{8, 2, 3};
  options.same_length = true;
  options.mem_len = 2;
  const TransformerXlAttention layer(w_, w_, options);
  const Tensor first = random_tensor({4, 1, 8}, 1);
  Tensor second = first.clone();
  second[0] += 1.0f;  // two keys before the third position
  const Var last(random_tensor({1, 1, 8}, 2));
  EXPECT_EQ(layer({}, last, Var(first)).value()[0], layer({}, last, Var(second)).value()[0]);
  options.same_length = false;
  const TransformerXlAttention full(w_, w_, options);
  EXPECT_NE(full({}, last, Var(first)).value()[0], full({}, last, Var(second)).value()[0]);
}

TEST_F(SequenceAttention, MusicSeesThePastOnlyUnlessToldOtherwise) {
  const Tensor x = random_tensor({1, 5, 8}, 1);
  Tensor other = x.clone();
  other[4 * 8] += 1.0f;  // the last position
  for (const bool causal : {true, false}) {
    PositionedAttention::Options options = music(6);
    options.causal = causal;
    const PositionedAttention layer(w_, options);
    const Tensor a = layer({}, Var(x)).value(), b = layer({}, Var(other)).value();
    EXPECT_EQ(a[0] == b[0], causal);
    EXPECT_NE(a[4 * 8], b[4 * 8]);
  }
}

constexpr int kPositions = static_cast<int>(AttentionPosition::deberta) + 1;

PositionedAttention::Options positioned(int position) {
  PositionedAttention::Options out = music(9);
  out.position = static_cast<AttentionPosition>(position);
  out.clip = 2;
  out.deberta = {.S = 4, .max_position = 8};
  out.causal = out.position == AttentionPosition::transformer_xl;
  return out;
}

// All encodings but none tell an order: tokens in another order do not give the same in that order.
TEST_F(SequenceAttention, EveryEncodingTellsAnOrderAndLearnsAllItHas) {
  const Tensor x = random_tensor({1, 7, 8}, 1);
  Tensor other(x.shape());
  for (std::int64_t n = 0; n < 7; ++n) std::copy_n(x.data() + n * 8, 8, other.data() + 3 * n % 7 * 8);
  for (int position = 0; position < kPositions; ++position) {
    const Weights w = w_ / "of" / position;
    const PositionedAttention layer(w, positioned(position));
    Tape tape;
    const Context ctx{.tape = &tape};
    const Var out = layer(ctx, Var(x));
    const Tensor moved = layer({}, Var(other)).value();
    float most = 0.0f;
    for (std::int64_t n = 0; n < 7; ++n)
      for (std::int64_t c = 0; c < 8; ++c)
        most = std::max(most, std::abs(out.value()[n * 8 + c] - moved[3 * n % 7 * 8 + c]));
    if (position == 0)
      EXPECT_LT(most, 1e-6f);
    else
      EXPECT_GT(most, 1e-5f) << position;
    tape.backward({{out, random_tensor(out.shape(), 2)}});
  }
  for (const Parameter& p : w_.parameters()) EXPECT_TRUE(p.value.grad().defined()) << p.name;
}

TEST_F(SequenceAttention, EveryEncodingSkipsKeysBeyondTheLengthAndAfterTheQuery) {
  const Tensor x = random_tensor({1, 6, 8}, 1);
  Tensor other = x.clone();
  for (std::int64_t c = 4 * 8; c < 6 * 8; ++c) other[c] = 9.0f - static_cast<float>(c % 7);
  for (int position = 0; position < kPositions; ++position) {
    PositionedAttention::Options options = positioned(position);
    options.causal = true;
    const PositionedAttention causal(w_ / "causal" / position, options);
    const Tensor a = causal({}, Var(x)).value(), b = causal({}, Var(other)).value();
    for (std::int64_t at = 0; at < 4 * 8; ++at) EXPECT_EQ(a[at], b[at]) << position;
    const PositionedAttention layer(w_ / "short" / position, positioned(position));
    const Tensor c = layer({}, Var(x), {4}).value(), d = layer({}, Var(other), {4}).value();
    for (std::int64_t at = 0; at < 4 * 8; ++at) EXPECT_EQ(c[at], d[at]) << position;
  }
}

TEST_F(SequenceAttention, RelativeKeySkipsKeysBeyondTheLength) {
  const RelativeKeyAttention layer(w_, {.width = 8, .heads = 2, .longest = 9});
  const Tensor x = random_tensor({2, 6, 8}, 1);
  Tensor other = x.clone();
  for (std::int64_t c = 0; c < 16; ++c) other[(6 + 4) * 8 + c] = 9.0f;  // positions 4 and 5 of sample 1
  const Tensor a = layer({}, Var(x), {6, 4}).value(), b = layer({}, Var(other), {6, 4}).value();
  for (std::int64_t at = 0; at < 10 * 8; ++at) EXPECT_EQ(a[at], b[at]) << at;
  EXPECT_NE(layer({}, Var(x)).value()[6 * 8], a[6 * 8]);
}

TEST_F(SequenceAttention, ShawReadsAMemoryOfAnotherLength) {
  const ShawAttention layer(w_, {.width = 8, .heads = 2, .K = 2});
  const Var x(random_tensor({2, 4, 8}, 1)), memory(random_tensor({2, 7, 8}, 2));
  EXPECT_EQ(layer({}, x, memory).shape(), (Shape{2, 4, 8}));
  EXPECT_THROW(layer({}, x, Var(random_tensor({3, 7, 8}, 2))), Error);
}

TEST_F(SequenceAttention, RefusesWhatDoesNotFit) {
  EXPECT_THROW(ShawAttention(w_, {8, 3, 2}), Error);
  EXPECT_THROW(ShawAttention(w_, {8, 2, -1}), Error);
  EXPECT_THROW(RelativeKeyAttention(w_, {.width = 8, .heads = 2, .method = Huang2020Method::m3}), Error);
  EXPECT_THROW(RelativeKeyAttention(w_, {.width = 8, .heads = 0}), Error);
  EXPECT_THROW(PositionedAttention(w_, music(0)), Error);
  EXPECT_THROW(TransformerXlAttention(w_, w_, {8, 2, 0}), Error);
  const Var x(random_tensor({1, 5, 8}, 1));
  EXPECT_THROW(PositionedAttention(w_, music(4))({}, x), Error);
  EXPECT_THROW(RelativeKeyAttention(w_, {.width = 8, .heads = 2, .longest = 4})({}, x), Error);
  const TransformerXlAttention xl(w_, w_, {8, 2, 4});
  EXPECT_THROW(xl({}, Var(random_tensor({5, 1, 6}, 1)), {}), Error);
  EXPECT_THROW(xl({}, Var(random_tensor({5, 1, 8}, 1)), Var(random_tensor({3, 2, 8}, 1))), Error);
  EXPECT_THROW(xl({}, Var(random_tensor({5, 1, 8}, 1)), {}, Var(random_tensor({4, 8}, 1))), Error);
}

}  // namespace sequence_attention_test
}  // namespace locant
