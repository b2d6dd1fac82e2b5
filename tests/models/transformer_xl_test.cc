#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "models/registry.h"

namespace locant {
namespace transformer_xl_test {

std::unique_ptr<Model> tiny(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  auto model = make_model(
      "transformer_xl",
      R"({"vocab_size":30,"dim":8,"embed_dim":8,"depth":2,"heads":2,"head_dim":4,"ffn_dim":12)" + more + "}",
      Weights(source, mode));
  for (const Parameter& p : model->parameters()) {  // the start is too small to tell one thing from another
    if (mode != WeightMode::train || p.shape.rank() < 2) continue;
    Tensor larger = p.value.value().clone();
    for (float& x : larger.values()) x *= 20.0f;
    Var(p.value).assign(std::move(larger));
  }
  return model;
}

/// (2, N)
Var ids(std::int64_t N, std::int64_t first = 0) {
  Tensor out({2, N});
  for (std::int64_t i = 0; i < 2 * N; ++i)
    out[i] = static_cast<float>((7 * (i % N + first) + 11 * (i / N)) % 30);
  return Var(std::move(out));
}

Var number(float x) { return Var(Tensor::full({1}, x)); }

/// Of hidden (B, N, C) from token `at` on against (B, n, C).
float largest_difference(const Tensor& whole, const Tensor& part, std::int64_t at) {
  const std::int64_t B = part.dim(0), n = part.dim(1), C = part.dim(2);
  float most = 0.0f;
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t i = 0; i < n * C; ++i)
      most = std::max(most, std::abs(whole[(b * whole.dim(1) + at) * C + i] - part[b * n * C + i]));
  return most;
}

// 285,205,322: counted by transformers 4.30 (TransfoXLLMHeadModel); the paper has 41M, 277M and 151M for the
// rest; the bytes and letters that enwik8 and text8 have are 204 and 27.
TEST(TransformerXl, ParameterCounts) {
  const std::vector<std::pair<const char*, std::int64_t>> counts = {
      {"transfo_xl_wt103", 285'205'322},          {"transformer_xl_wt103_base", 151'107'538},
      {"transformer_xl_enwik8_base", 41'055'436}, {"transformer_xl_enwik8_large", 277'231'820},
      {"transformer_xl_text8_base", 40'964'635},  {"transformer_xl_text8_large", 277'050'395},
  };
  for (const auto& [name, count] : counts) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

// A memory of all that came before, with no clamp: layers see what they would see in one long call.
TEST(TransformerXl, MemoryOfAllIsOneLongCall) {
  for (const char* norm : {"false", "true"}) {
    const auto model = tiny(R"(,"mem_len":16,"pre_norm":)" + std::string(norm), WeightMode::train);
    const Tensor whole = model->run({}, {{"tokens", ids(10)}}).at("hidden").value();
    const Values first = model->run({}, {{"tokens", ids(6)}});
    EXPECT_EQ(first.at("memory").shape(), (Shape{2, 6, 2, 8}));
    const Values second = model->run({}, {{"tokens", ids(4, 6)}, {"memory", first.at("memory")}});
    EXPECT_EQ(second.at("memory").shape(), (Shape{2, 10, 2, 8}));
    EXPECT_LT(largest_difference(whole, first.at("hidden").value(), 0), 1e-5f);
    EXPECT_LT(largest_difference(whole, second.at("hidden").value(), 6), 1e-5f);
    // Without it they do not.
    EXPECT_GT(largest_difference(whole, model->forward({}, ids(4, 6)).value(), 6), 1e-2f);
    // Segments within one call are those calls; the last may be shorter.
    const Tensor cut = model->run({}, {{"tokens", ids(10)}, {"segment_len", number(6)}}).at("hidden").value();
    EXPECT_EQ(largest_difference(cut, second.at("hidden").value(), 6), 0.0f);
  }
}

// One token at a time with all its past, as texts are written.
TEST(TransformerXl, StepsAreOneLongCall) {
  const auto model = tiny(R"(,"mem_len":16)", WeightMode::train);
  const Tensor whole = model->forward({}, ids(7)).value();
  Var memory;
  for (std::int64_t i = 0; i < 7; ++i) {
    Values in = {{"tokens", ids(1, i)}};
    in.set("tokens", Var([&] {
             Tensor out({2, 1});
             for (std::int64_t b = 0; b < 2; ++b) out[b] = ids(7).value()[b * 7 + i];
             return out;
           }()));
    if (memory.defined()) in.set("memory", memory);
    const Values out = model->run({}, in);
    EXPECT_LT(largest_difference(whole, out.at("hidden").value(), i), 1e-5f) << i;
    memory = out.at("memory");
  }
}

TEST(TransformerXl, MemoryIsTheLastTokensAndHasNoGradient) {
  const auto model = tiny(R"(,"mem_len":3)", WeightMode::train);
  const Values first = model->run({}, {{"tokens", ids(2)}});
  EXPECT_EQ(first.at("memory").dim(1), 2);
  const Values both = model->run({}, {{"tokens", ids(6)}, {"segment_len", number(2)}});
  EXPECT_EQ(both.at("memory").dim(1), 3);
  EXPECT_EQ(model->inputs()[1].kind, Port::Kind::state);

  Tape tape;
  const Context ctx{.tape = &tape};
  const Values out = model->run(ctx, {{"tokens", ids(2)}});
  EXPECT_FALSE(out.at("memory").requires_grad());
}

// What transformers begins with: keys of zeros that share the softmax.
TEST(TransformerXl, MemoryOfZerosIsNoEmptyMemory) {
  const auto empty = tiny(R"(,"mem_len":4)", WeightMode::train),
             zeros = tiny(R"(,"mem_len":4,"first_memory":"zeros")", WeightMode::train);
  const Tensor a = empty->forward({}, ids(3)).value(), b = zeros->forward({}, ids(3)).value();
  EXPECT_GT(largest_difference(a, b, 0), 1e-2f);
  const Values told = empty->run({}, {{"tokens", ids(3)}, {"memory", Var(Tensor::zeros({2, 4, 2, 8}))}});
  EXPECT_EQ(largest_difference(told.at("hidden").value(), b, 0), 0.0f);
}

struct Softmax {
  const char* name;
  const char* config;
};
const Softmax kSoftmaxes[] = {
    {"one cluster", ""},
    {"one table", R"(,"cutoffs":[10,18])"},
    {"one table projected", R"(,"cutoffs":[10,18],"embed_dim":4)"},
    {"narrower clusters", R"(,"cutoffs":[10,18],"div_val":2)"},
    {"untied",
     R"(,"cutoffs":[10,18],"div_val":2,"tie_weight":false,"tie_projs":false,"cluster_order":"rising")"},
};

// log_probs are of a distribution; nll is read off them; both have the same gradients.
TEST(TransformerXl, SoftmaxOfClusters) {
  for (const Softmax& softmax : kSoftmaxes) {
    SCOPED_TRACE(softmax.name);
    const auto model = tiny(std::string(R"(,"output":"log_probs")") + softmax.config, WeightMode::train);
    std::vector<Tensor> gradients[2];
    const Var next = ids(5, 1);
    Tensor read_off({2, 5});
    for (const bool targets : {false, true}) {
      Tape tape;
      const Context ctx{.tape = &tape};
      Values in = {{"tokens", ids(5)}};
      if (targets) in.set("targets", next);
      const Var out = model->run(ctx, in).front();
      Tensor dout = Tensor::zeros(out.shape());
      for (std::int64_t t = 0; t < 10; ++t) {
        if (targets) {
          EXPECT_NEAR(out.value()[t], read_off[t], 1e-5f);
          dout[t] = static_cast<float>(t + 1);
          continue;
        }
        double sum = 0;
        for (std::int64_t v = 0; v < 30; ++v) sum += std::exp(static_cast<double>(out.value()[t * 30 + v]));
        EXPECT_NEAR(sum, 1.0, 1e-5);
        const std::int64_t at = t * 30 + static_cast<std::int64_t>(next.value()[t]);
        read_off[t] = -out.value()[at];
        dout[at] = -static_cast<float>(t + 1);
      }
      tape.backward({{out, dout}});
      for (const Parameter& p : model->parameters()) {
        ASSERT_TRUE(p.value.grad().defined()) << p.name;
        gradients[targets].push_back(p.value.grad().clone());
        Var(p.value).clear_grad();
      }
    }
    for (std::size_t p = 0; p < gradients[0].size(); ++p) {
      float most = 0.0f, unit = 1e-3f;
      for (std::int64_t i = 0; i < gradients[0][p].numel(); ++i) {
        most = std::max(most, std::abs(gradients[0][p][i] - gradients[1][p][i]));
        unit = std::max(unit, std::abs(gradients[0][p][i]));
      }
      EXPECT_LT(most, 1e-4f * unit) << model->parameters()[p].name;
    }
  }
}

TEST(TransformerXl, RefusesWhatCannotBe) {
  for (const char* more :
       {R"(,"cutoffs":[10,10])", R"(,"cutoffs":[30])", R"(,"cutoffs":[10,20],"div_val":8)", R"(,"dim":7)",
        R"(,"same_length":true)", R"(,"attn_type":1)", R"(,"clamp_len":-2)"})
    EXPECT_THROW(tiny(more), Error) << more;
  const auto model = tiny(R"(,"mem_len":3)");
  EXPECT_THROW(model->run({}, {{"tokens", Var(Tensor::full({1, 2}, 30.0f))}}), Error);
  EXPECT_THROW(model->run({}, {{"tokens", ids(2)}, {"segment_len", number(0)}}), Error);
  EXPECT_THROW(model->run({}, {{"tokens", ids(4)}, {"segment_len", number(2)}, {"segments", number(3)}}),
               Error);
  EXPECT_THROW(model->run({}, {{"tokens", ids(2)}, {"memory", Var(Tensor({2, 3, 1, 8}))}}), Error);
  EXPECT_THROW(tiny("")->run({}, {{"tokens", ids(2)}, {"memory", Var(Tensor({2, 3, 2, 8}))}}), Error);
}

// One table says how many clusters there are, not where they begin.
TEST(TransformerXl, CutoffsOfOneTableMustBeTold) {
  const Family& family = find_family("transformer_xl");
  std::map<std::string, Shape> shapes;
  for (const Parameter& p :
       model_parameters("transformer_xl", R"({"vocab_size":30,"cutoffs":[10,18],"output":"log_probs"})"))
    shapes.emplace(p.name, p.shape);
  const auto told = [&](const char* config) {
    return family.from_shapes(family, NamedShapes("transformer_xl", shapes), config);
  };
  EXPECT_NE(told(R"({"cutoffs":[12,20]})").find("[12,20]"), std::string::npos);
  try {
    told("");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cutoffs must be told"), std::string::npos) << error.what();
  }
}

}  // namespace transformer_xl_test
}  // namespace locant
