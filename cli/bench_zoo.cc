// locant bench zoo: a line for each family's model, how fast it runs here beside the machine's own rate.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/attention.h"
#include "cli/bench.h"
#include "core/error.h"
#include "core/parallel.h"
#include "models/registry.h"

namespace locant::cli {
namespace bench_zoo_command {
namespace {

using Json = nlohmann::json;

struct Options {
  BenchOptions common;
  std::vector<std::string> patterns;
  std::int64_t batch = 1;
};

/// Clips and sequences are not timed.
bool takes_pictures(const ModelEntry& entry) {
  ShapeSource shapes;
  const auto model = make_model(entry.family, entry.config, Weights(shapes, WeightMode::shapes));
  return model->inputs().front().name == "images";
}

/// One model of pictures a family, or what the patterns say.
std::vector<const ModelEntry*> chosen_models(const std::vector<std::string>& patterns) {
  std::vector<const ModelEntry*> chosen;
  std::set<std::string> families;
  for (const ModelEntry& entry : model_entries()) {
    bool wanted = patterns.empty() && families.insert(entry.family).second;
    for (const std::string& pattern : patterns)
      wanted = wanted || glob_match(pattern, entry.name) || glob_match(pattern, entry.family);
    if (wanted && takes_pictures(entry)) chosen.push_back(&entry);
  }
  require(!chosen.empty(), "bench",
          "no model or family of pictures is called {}; locant list models shows them",
          fmt::join(patterns, ", "));
  return chosen;
}

/// What this program prints when it is called with these arguments; its errors go to stderr. A model has a
/// process of its own, so that the most memory held is its own. Empty when it fails.
std::string output_of_self(const std::vector<std::string>& arguments) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<char*> argv{const_cast<char*>(self.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  if (pipe(ends) != 0) fail("bench", "no pipe: {}", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  pid_t child = 0;
  const int failed = posix_spawn(&child, self.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; failed == 0;) {
    got = read(ends[0], buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  close(ends[0]);
  if (failed != 0) fail("bench", "cannot start {}: {}", self, std::strerror(failed));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) fail("bench", "interrupted");
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : std::string();
}

/// "conv2d 41 %, linear 30 %": the kinds of layer that take a twentieth of the time or more.
std::string shares_of(const std::vector<Json>& layers) {
  std::string shares;
  for (const Json& layer : layers)
    if (layer["share"] >= 0.05)
      shares += fmt::format("{}{} {:.0f} %", shares.empty() ? "" : ", ", layer["layer"].get<std::string>(),
                            100.0 * layer["share"].get<double>());
  return shares;
}

int run(const Options& options, const GlobalOptions& globals) {
  const std::vector<const ModelEntry*> models = chosen_models(options.patterns);
  if (!options.common.json)
    out("name,family,batch,parameters,gmac,ms,images_per_s,peak_mb,gmac_per_s,matmul_gmac_per_s,of_matmul,"
        "shares\n");
  Progress progress(globals, "models", static_cast<std::int64_t>(models.size()));
  std::int64_t done = 0;
  bool failed = false;
  for (const ModelEntry* entry : models) {
    progress.update(done++, entry->name);
    const double matmul =
        bench::bench_matmul(0.1, options.common.matmul_size).front().gflops / 2.0;  // GMAC/s
    const std::string text =
        output_of_self({"bench", "model", entry->name, "--json", "--profile", "--quiet", "--seconds",
                        fmt::format("{}", options.common.seconds), "--batch", std::to_string(options.batch),
                        "--threads", std::to_string(num_threads())});
    if (text.empty()) {
      warn(fmt::format("{} left out", entry->name));
      failed = true;
      continue;
    }
    std::vector<Json> lines;
    for (std::size_t at = 0, end = 0; at < text.size(); at = end + 1) {
      end = std::min(text.find('\n', at), text.size());
      lines.push_back(Json::parse(text.substr(at, end - at)));
    }
    const Json row = lines.front();
    lines.erase(lines.begin());
    const double gmac = row["gmac"], ms = row["ms"];
    const double rate = gmac * static_cast<double>(options.batch) / (ms * 1e-3);
    if (options.common.json) {
      Json object = {{"name", entry->name},
                     {"family", entry->family},
                     {"batch", options.batch},
                     {"parameters", row["parameters"]},
                     {"gmac", gmac},
                     {"ms", ms},
                     {"images_per_s", row["images_per_s"]},
                     {"peak_mb", row["peak_mb"]},
                     {"gmac_per_s", rate},
                     {"matmul_gmac_per_s", matmul},
                     {"of_matmul", rate / matmul},
                     {"shares", shares_of(lines)}};
      out("{}\n", object.dump());
    } else {
      out("{},{},{},{},{:.4f},{:.3f},{:.2f},{:.1f},{:.1f},{:.1f},{:.3f},{}\n", entry->name, entry->family,
          options.batch, row["parameters"].get<std::int64_t>(), gmac, ms, row["images_per_s"].get<double>(),
          row["peak_mb"].get<double>(), rate, matmul, rate / matmul, csv_field(shares_of(lines)));
    }
    flush_out();
  }
  return failed ? kCheckFailed : kOk;
}

}  // namespace
}  // namespace bench_zoo_command

void add_bench_zoo(CLI::App& bench, GlobalOptions& globals) {
  auto options = std::make_shared<bench_zoo_command::Options>();
  options->common.seconds = 2.0;
  CLI::App* sub = add_measurement(
      bench, globals, options->common, "zoo",
      "A CSV line a model, one a family or those named: time, memory, multiply-adds, rate beside matmul's",
      "locant bench zoo > zoo.csv\nlocant bench zoo 'swin*' convit --batch 8 --json\n",
      [options, &globals] { return run(*options, globals); }, false);
  sub->add_option("MODELS", options->patterns,
                  "Models or families, * ? [a-z]; none: the first of each family");
  sub->add_option("--batch", options->batch, "Pictures at once")->type_name("N")->check(CLI::Range(1, 4096));
  add_matmul_size(sub, options->common);
}

}  // namespace locant::cli
