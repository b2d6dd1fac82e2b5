// locant bench attention: the fused op beside oneDNN's matmul rate and the composed path.
#include <CLI/CLI.hpp>
#include <memory>

#include "bench/attention.h"
#include "cli/bench.h"
#include "core/error.h"

namespace locant::cli {
namespace bench_attention_command {
namespace {

struct Options {
  BenchOptions common;
  std::string preset;
  bench::AttentionCase custom;
  bool given = false;  ///< a size was given: a case of the user's own
  bool composed = true;
};

std::vector<bench::AttentionCase> chosen_cases(const Options& options) {
  if (options.given) {
    require(options.preset.empty(), "bench", "--preset {} and sizes exclude each other", options.preset);
    bench::AttentionCase custom = options.custom;
    if (custom.side > 0) custom.n = custom.side * custom.side;
    return {custom};
  }
  const std::string pattern = options.preset.empty() ? "*" : options.preset;
  std::vector<bench::AttentionCase> cases;
  std::vector<std::string> names;
  for (const bench::AttentionCase& one : bench::attention_cases()) {
    if (glob_match(pattern, one.name)) cases.push_back(one);
    names.push_back(one.name);
  }
  require(!cases.empty(), "bench", "no preset is called {}; there are {}", pattern, fmt::join(names, ", "));
  return cases;
}

int run(const Options& options) {
  constexpr double kMostScores = 1e9;  // the composed path holds them several times, four bytes each
  for (const bench::AttentionCase& one : chosen_cases(options)) {
    const double scores =
        static_cast<double>(one.batch * one.windows * one.heads) * static_cast<double>(one.n * one.n);
    if (options.composed && scores > kMostScores)
      warn(fmt::format("{}: {:.0f} scores, composed path left out", one.name, scores));
    const bool composed = options.composed && scores <= kMostScores;
    for (const bench::Row& row :
         bench::bench_attention(one, options.common.seconds, composed, options.common.matmul_size))
      print_row(options.common, row);
  }
  return kOk;
}

CLI::Option* add_size(CLI::App* sub, const std::shared_ptr<Options>& options, const char* flag,
                      std::int64_t& value, std::int64_t most, const char* description) {
  return sub
      ->add_option_function<std::int64_t>(
          flag,
          [options, &value](const std::int64_t& given) {
            value = given;
            options->given = true;
          },
          description + fmt::format(" [{}]", value))
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, most));
}

}  // namespace
}  // namespace bench_attention_command

void add_bench_attention(CLI::App& bench, GlobalOptions& globals) {
  auto options = std::make_shared<bench_attention_command::Options>();
  CLI::App* sub = add_measurement(bench, globals, options->common, "attention",
                                  "Fused attention beside oneDNN's matmul rate and the composed path",
                                  "locant bench attention --preset 'swin*'\n"
                                  "locant bench attention --n 1024 --d 80 --heads 16 --no-composed\n",
                                  [options] { return run(*options); });
  sub->add_option(
         "--preset", options->preset,
         "global, sam_global, sam_windows, swin_stage1 .. swin_stage4, or a pattern; all of them otherwise")
      ->type_name("NAME");
  add_matmul_size(sub, options->common);
  bench::AttentionCase& custom = options->custom;
  add_size(sub, options, "--n", custom.n, 1 << 20, "Tokens a window");
  add_size(sub, options, "--d", custom.d, 256, "Head width");
  add_size(sub, options, "--heads", custom.heads, 4096, "Heads");
  add_size(sub, options, "--windows", custom.windows, 1 << 20, "Windows a picture");
  add_size(sub, options, "--side", custom.side, 1024, "Window side: shifted Swin windows of side^2 tokens");
  add_size(sub, options, "--batch", custom.batch, 4096, "Pictures");
  sub->add_flag("!--no-composed", options->composed,
                "Leave the composed path out: it holds every score in memory");
}

}  // namespace locant::cli
