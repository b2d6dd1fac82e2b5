#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "simd/isa.h"
#include "tests/support/gradcheck.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace encodings_test {

// Values and gradients of one run: out, then dq, dk, dv and the gradient of each parameter.
using Numbers = std::vector<std::vector<double>>;

class EncodingRun {
 public:
  EncodingRun(const Encoding& encoding, const EncodingCase& c)
      : case_(c),
        instance_(encoding.make(c)),
        q_(random_tensor({c.B, c.Nq(), c.H * c.D}, 101, 1.5f)),
        k_(random_tensor({c.B, c.Nk(), c.H * c.D}, 102, 1.5f)),
        v_(random_tensor({c.B, c.Nk(), c.H * c.Dv}, 103)),
        dout_(random_tensor({c.B, c.Nq(), c.H * c.Dv}, 104)) {}

  const EncodingInstance& instance() const { return instance_; }

  // In float32 on the tape, with the active instruction set.
  std::vector<Tensor> tensors(AttentionPath path) const {
    Tape tape;
    const Context ctx{&tape, false, nullptr, nullptr};
    const Var q(q_, true), k(k_, true), v(v_, true);
    for (auto& [name, parameter] : instance_.parameters) Var(parameter).clear_grad();
    const Var out = instance_.run(ctx, q, k, v, path);
    tape.backward({{out, dout_}});
    std::vector<Tensor> all = {out.value(), q.grad(), k.grad(), v.grad()};
    for (const auto& [name, parameter] : instance_.parameters) all.push_back(parameter.grad());
    return all;
  }

  std::string name_of(std::size_t number) const {
    static const char* const kFirst[] = {"out", "dq", "dk", "dv"};
    return number < 4 ? kFirst[number] : "gradient of " + instance_.parameters[number - 4].first;
  }

  // The plain equation in double; gradients by the complex step, of every number.
  Numbers truth() const {
    std::vector<Complexes> numbers;
    const auto put = [&](const Tensor& t) { numbers.emplace_back(t.values().begin(), t.values().end()); };
    put(q_), put(k_), put(v_);
    for (const auto& [name, parameter] : instance_.parameters) put(parameter.value());
    Numbers out(1);
    for (const std::complex<double>& x : instance_.reference(numbers)) out[0].push_back(x.real());
    constexpr double kStep = 1e-50;
    for (Complexes& part : numbers) {
      out.emplace_back();
      for (std::complex<double>& x : part) {
        const std::complex<double> kept = x;
        x = {kept.real(), kStep};
        const Complexes value = instance_.reference(numbers);
        double sum = 0;
        for (std::size_t i = 0; i < value.size(); ++i)
          sum += static_cast<double>(dout_[static_cast<std::int64_t>(i)]) * value[i].imag();
        out.back().push_back(sum / kStep);
        x = kept;
      }
    }
    return out;
  }

 private:
  EncodingCase case_;
  EncodingInstance instance_;
  Tensor q_, k_, v_, dout_;
};

std::string describe(const Encoding& encoding, const EncodingCase& c) {
  const auto grid = [](const Grid& g) { return fmt::format("{}x{}x{}", g.frames, g.rows, g.columns); };
  return fmt::format("{} {} B{} H{} D{} Dv{} {}->{} +{}", encoding.name, c.variant, c.B, c.H, c.D, c.Dv,
                     grid(c.query), grid(c.key), c.prefix);
}

std::vector<double> errors_of(const std::vector<Tensor>& got, const Numbers& want) {
  std::vector<double> out;
  for (std::size_t x = 0; x < want.size(); ++x) {
    if (got[x].defined()) {
      out.push_back(worst_error(got[x].values(), want[x]));
    } else {  // no gradient reached it: it must be zero
      double most = 0;
      for (const double value : want[x]) most = std::max(most, std::abs(value));
      out.push_back(most);
    }
  }
  return out;
}

void expect_equal_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b, const std::string& what) {
  for (std::size_t x = 0; x < a.size(); ++x) {
    ASSERT_EQ(a[x].defined(), b[x].defined()) << what;
    if (!a[x].defined()) continue;
    const auto x1 = a[x].values(), x2 = b[x].values();
    EXPECT_TRUE(std::equal(x1.begin(), x1.end(), x2.begin(), x2.end(),
                           [](float m, float n) { return m == n || (std::isnan(m) && std::isnan(n)); }))
        << what << ": two runs differ";
  }
}

class Encodings : public ::testing::TestWithParam<const Encoding*> {
 protected:
  ~Encodings() override { set_active_isa(isa_); }
  Isa isa_ = active_isa();
};

// Values and every gradient: the fused kernel in each instruction set and the composed path, against the
// paper's equation in double. The vector code may be wrong by twice what plain float32 is (the composed path
// with each set's order of sums, and the scalar kernel), and by a few roundings of the largest score; plain
// float32 by some more. Of the gradients its worst counts: that of a single small tensor is next to nothing
// by luck now and then.
TEST_P(Encodings, FusedAndComposedAreTheEquation) {
  const Encoding& encoding = *GetParam();
  ASSERT_NE(encoding.cases, nullptr);
  for (const EncodingCase& c : encoding.cases()) {
    const EncodingRun run(encoding, c);
    const std::string what = describe(encoding, c);
    const Numbers want = run.truth();
    const double roundings = 4 * 0x1p-23 * c.largest_score;  // P = exp(s - L): of s and L
    double plain_out = 0, plain_gradient = 0;
    const auto add_plain = [&](Isa isa, AttentionPath path) {
      set_active_isa(isa);
      const std::vector<double> errors = errors_of(run.tensors(path), want);
      for (std::size_t x = 0; x < errors.size(); ++x) {
        EXPECT_LE(errors[x], 16 * roundings) << what << ": plain " << isa_name(isa) << " " << run.name_of(x);
        double& plain = x == 0 ? plain_out : plain_gradient;
        plain = std::max(plain, errors[x]);
      }
    };
    for (const Isa isa : testing::tested_isas()) add_plain(isa, AttentionPath::composed);
    add_plain(Isa::reference, AttentionPath::fused);
    for (const Isa isa : testing::tested_isas()) {
      set_active_isa(isa);
      const std::vector<Tensor> got = run.tensors(AttentionPath::fused);
      const std::vector<double> fused = errors_of(got, want);
      for (std::size_t x = 0; isa != Isa::reference && x < fused.size(); ++x) {
        const double plain = x == 0 ? plain_out : plain_gradient;
        EXPECT_LE(fused[x], 2 * plain + roundings) << what << ": " << isa_name(isa) << " " << run.name_of(x)
                                                   << ", plain float32 is wrong by " << plain;
      }
      expect_equal_bits(got, run.tensors(AttentionPath::fused), what);
    }
  }
}

TEST_P(Encodings, DescribesItself) {
  const Encoding& encoding = *GetParam();
  for (const char* text : {encoding.name, encoding.title, encoding.paper, encoding.models, encoding.formula,
                           encoding.lowering, encoding.parameters, encoding.multiply_adds, encoding.memory}) {
    ASSERT_NE(text, nullptr) << encoding.name;
    EXPECT_STRNE(text, "") << encoding.name;
  }
  EXPECT_TRUE(std::filesystem::exists(fmt::format("{}/src/position/{}.h", LOCANT_SOURCE_DIR, encoding.name)));
  if (encoding.index == nullptr) return;
  for (const EncodingCase& c : encoding.cases())
    EXPECT_EQ(static_cast<std::int64_t>(encoding.index(c).size()), c.Nq() * c.Nk()) << encoding.name;
}

TEST_P(Encodings, RefusesWhatItDoesNotTake) {
  const Encoding& encoding = *GetParam();
  const auto refuses = [&](const EncodingCase& c) {
    try {
      encoding.make(c);
    } catch (const Error& error) {
      return std::string(error.what()).find(encoding.name) != std::string::npos;
    }
    return false;
  };
  const EncodingCase own = encoding.cases().front();
  EncodingCase c = own;
  c.variant = "no such variant";
  EXPECT_TRUE(refuses(c)) << "variant";
  c = own, c.prefix = 1;
  EXPECT_TRUE(encoding.prefix || refuses(c)) << "prefix";
  c = own, c.query.frames = c.key.frames = 2;
  const EncodingGrids grids = encoding.grids;
  EXPECT_TRUE(refuses(c) || grids == EncodingGrids::any || grids == EncodingGrids::one) << "frames";
  c = own, c.key.columns += 1;
  EXPECT_TRUE(refuses(c) || grids == EncodingGrids::any || grids == EncodingGrids::flat) << "two grids";
}

INSTANTIATE_TEST_SUITE_P(All, Encodings, ::testing::ValuesIn(encodings()),
                         [](const auto& info) { return std::string(info.param->name); });

TEST(EncodingList, NamesAreUnique) {
  std::set<std::string> names;
  for (const Encoding* encoding : encodings())
    EXPECT_TRUE(names.insert(encoding->name).second) << encoding->name;
}

}  // namespace encodings_test
}  // namespace locant::testing
