// Memory from call to call against the official code, which reads three segments of one text.
#include <gtest/gtest.h>

#include "models/family.h"
#include "verify/formula_source.h"
#include "verify/oracle_file.h"

namespace locant {
namespace transformer_xl_memory_test {

TEST(TransformerXlMemory, GoesFromCallToCall) {
  for (const char* name : {"lm_3segments_mem7", "lm_3segments_mem7_clamp4_same_length"}) {
    const OracleFile file =
        read_oracle(std::string(LOCANT_TEST_DATA) + "/oracle/official/transformer_xl/" + name + ".json");
    FormulaSource source(file, find_renames("transformer_xl", "kimiyoung/transformer-xl"));
    const bool clamped = std::string(name).find("clamp4") != std::string::npos;
    const auto model = build_model(
        find_family("transformer_xl"),
        std::string(
            R"({"vocab_size":40,"depth":2,"heads":2,"dim":16,"embed_dim":16,"head_dim":8,"ffn_dim":24,)") +
            (clamped ? R"("mem_len":7,"clamp_len":4,"same_length":true})" : R"("mem_len":7})"),
        Weights(source, WeightMode::inference));
    EXPECT_TRUE(source.problems().empty());

    constexpr std::int64_t kBatch = 2, kLength = 5, kWidth = 16;
    Tensor whole({3 * kLength, kBatch, kWidth});  // as the file has it: length first
    Var memory;
    for (std::int64_t segment = 0; segment < 3; ++segment) {
      Tensor tokens({kBatch, kLength});
      for (std::int64_t b = 0; b < kBatch; ++b)
        for (std::int64_t i = 0; i < kLength; ++i)
          tokens[b * kLength + i] = static_cast<float>(
              file.inputs[0].values[static_cast<std::size_t>((segment * kLength + i) * kBatch + b)]);
      Values in = {{"tokens", Var(std::move(tokens))}};
      if (memory.defined()) in.set("memory", memory);
      const Values out = model->run({}, in);
      memory = out.at("memory");
      EXPECT_EQ(memory.dim(1), segment == 0 ? 5 : 7);
      const Tensor hidden = out.at("hidden").value();
      for (std::int64_t b = 0; b < kBatch; ++b)
        for (std::int64_t i = 0; i < kLength; ++i)
          for (std::int64_t c = 0; c < kWidth; ++c)
            whole[((segment * kLength + i) * kBatch + b) * kWidth + c] =
                hidden[(b * kLength + i) * kWidth + c];
    }
    EXPECT_LT(oracle_error(whole.values(), file.output), 5e-5);
  }
}

}  // namespace transformer_xl_memory_test
}  // namespace locant
