// locant verify: models against numbers of the official libraries.
#include "verify/verify.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/cli.h"
#include "core/error.h"

namespace locant::cli {
namespace verify_command {
namespace {

struct Options {
  std::vector<std::string> files;
  VerifyOptions verify;
  bool all = false, json = false;
};

int run(const Options& options, const GlobalOptions& globals) {
  banner(globals);
  const Stopwatch watch;
  std::size_t passed = 0, unreadable = 0;
  Progress progress(globals, "verify", static_cast<std::int64_t>(options.files.size()));
  for (std::size_t i = 0; i < options.files.size(); ++i) {
    progress.update(static_cast<std::int64_t>(i), options.files[i]);
    try {
      const VerifyReport report = verify_file(options.files[i], options.verify);
      progress.finish();
      passed += report.ok() ? 1 : 0;
      write_out(options.json ? printable_json(report.json()) + "\n"
                             : printable(report.text(options.all), true));
    } catch (const Error& error) {
      progress.finish();
      ++unreadable;
      warn(error.what());
      if (options.json)
        out("{{\"file\":{},\"ok\":false,\"error\":{}}}\n", json_string(options.files[i]),
            json_string(error.what()));
    }
    flush_out();
  }
  progress.finish();
  if (!options.json)
    out("{} of {} files within tolerance, {}\n", passed, options.files.size(),
        human_seconds(watch.seconds()));
  if (unreadable > 0) return kUserError;
  return passed == options.files.size() ? kOk : kCheckFailed;
}

}  // namespace
}  // namespace verify_command

void add_verify(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<verify_command::Options>();
  CLI::App* sub = add_command(
      app, globals, "verify", "Compares models with numbers of the official libraries, stage by stage",
      "locant verify tests/data/oracle/zoo/*.json\n"
      "locant verify oracle.json --all\n"
      "locant verify tests/data/oracle/real/dinov2_*.json --weights weights/dinov2_vits14.safetensors\n"
      "Exit code: 0 all within tolerance, 1 something is out of it, 2 a file could not be read.\n",
      [options, &globals] { return run(*options, globals); });
  sub->add_option("ORACLE", options->files, "Oracle files (.json)")->required();
  sub->add_option("--weights", options->verify.weights, "Checkpoint for oracles of published weights")
      ->type_name("FILE");
  sub->add_option("--photos", options->verify.photos,
                  "Folder of their photographs; without it photos/ near the file")
      ->type_name("FOLDER");
  sub->add_flag("!--no-gradients", options->verify.gradients, "Leave the backward pass out");
  sub->add_flag("!--no-inference", options->verify.inference, "Leave the run with packed weights out");
  sub->add_flag("--all", options->all, "Every comparison, not the worst gradients alone");
  sub->add_flag("--bits", options->verify.bits,
                "With --json: a hash of every tensor, to tell two builds apart");
  sub->add_flag("--json", options->json, "One JSON object a file and line");
}

}  // namespace locant::cli
