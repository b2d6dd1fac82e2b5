#include "simd/isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "core/error.h"

namespace locant {
namespace isa_test {

// The variable is read once, at the first use: these run in a fresh copy of the executable ("threadsafe"
// style).
class IsaEnvironment : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // Exit code 0 when active_isa() under LOCANT_ISA=value is `want` for the stated reason.
  static void check(const char* value, Isa want, const std::string& reason) {
    setenv("LOCANT_ISA", value, 1);
    const bool good =
        active_isa() == want && isa_reason() == std::string(isa_name(want)) + " (" + reason + ")";
    std::exit(good ? 0 : 1);
  }

  static void check_error(const char* value, const std::string& part) {
    setenv("LOCANT_ISA", value, 1);
    for (int attempt = 0; attempt < 2; ++attempt) {  // the error must not be swallowed by a half-made choice
      try {
        (void)active_isa();
        std::exit(1);
      } catch (const Error& error) {
        if (std::string(error.what()).find(part) == std::string::npos) std::exit(2);
      }
    }
    std::exit(0);
  }
};

TEST(Isa, NamesGoBothWays) {
  for (const Isa isa : {Isa::reference, Isa::sse4, Isa::avx2, Isa::avx512})
    EXPECT_EQ(parse_isa(isa_name(isa)), isa);
  EXPECT_EQ(isa_name(Isa::avx512), "avx512");
}

TEST(Isa, UnknownNameListsTheRightOnes) {
  for (const char* name : {"avx3", "AVX2", "", "avx2 "}) {
    try {
      (void)parse_isa(name);
      FAIL() << name;
    } catch (const Error& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.rfind("[isa] ", 0), 0u) << text;
      for (const Isa isa : supported_isas()) EXPECT_NE(text.find(isa_name(isa)), std::string::npos) << text;
    }
  }
}

TEST(Isa, SupportedAreOrderedAndStartWithReference) {
  const std::vector<Isa>& isas = supported_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::reference);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
}

TEST(Isa, UnsupportedIsRefused) {
  const std::vector<Isa>& isas = supported_isas();
  for (const Isa isa : {Isa::sse4, Isa::avx2, Isa::avx512}) {
    if (std::find(isas.begin(), isas.end(), isa) != isas.end()) continue;
    EXPECT_THROW(set_active_isa(isa), Error);
  }
}

TEST(Isa, ForcedIsActive) {
  const Isa before = active_isa();
  for (const Isa isa : supported_isas()) {
    set_active_isa(isa);
    EXPECT_EQ(active_isa(), isa);
    EXPECT_EQ(isa_reason(), std::string(isa_name(isa)) + " (set by the program)");
  }
  set_active_isa(before);
}

TEST_F(IsaEnvironment, VariableForcesEachSupported) {
  for (const Isa isa : supported_isas())
    EXPECT_EXIT(check(std::string(isa_name(isa)).c_str(), isa, "LOCANT_ISA"), ::testing::ExitedWithCode(0),
                "");
}

TEST_F(IsaEnvironment, EmptyVariableCountsAsUnset) {
  EXPECT_EXIT(check("", supported_isas().back(), "best of this machine"), ::testing::ExitedWithCode(0), "");
}

TEST_F(IsaEnvironment, UnknownVariableIsAnErrorEveryTime) {
  EXPECT_EXIT(check_error("avx1024", "avx1024"), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(check_error("avx1024", "reference"), ::testing::ExitedWithCode(0), "");
}

}  // namespace isa_test
}  // namespace locant
